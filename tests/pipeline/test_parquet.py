"""The Parquet output: what is in it, and that it can be read at any moment."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from demos import read_parquet
from pipeline.errors import SinkError
from pipeline.sinks import SINKS, parquet
from pipeline.sinks.base import Result
from tests.fakes import discs, tracks_of
from tests.pipeline.saved import INFO, SIZE, context, results, save


def table(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "tracks.parquet").to_pylist()
    return rows


def test_parquet_holds_every_object_of_every_frame(tmp_path):
    what = results([0.0, 0.04])
    save(tmp_path, "parquet", what)
    rows = table(tmp_path)
    assert [(row["frame"], row["id"], row["state"]) for row in rows] == [
        (0, 3, "tracked"), (0, 8, "coasting"), (1, 3, "tracked"), (1, 8, "coasting"),
    ]  # fmt: skip
    tracks = what[1][1]
    assert tracks.masks is not None
    assert [rows[2][name] for name in ("x1", "y1", "x2", "y2")] == tracks.boxes[0].tolist()
    assert {"size": [rows[2]["height"], rows[2]["width"]], "counts": rows[2]["rle"]} == (
        tracks.masks.rle(0)
    )
    assert rows[2]["area_px"] == tracks.masks.areas()[0]
    assert rows[2]["time_s"] == 0.04
    assert {row["source"] for row in rows} == {"clip"}


def test_parquet_of_boxes_only_and_of_nothing(tmp_path):
    (frame, tracks), (other, _) = results([0.0, 0.04])
    nothing = tracks_of(discs(SIZE, [], 3))
    save(tmp_path / "a", "parquet", [(frame, dataclasses.replace(tracks, masks=None))])
    assert {(row["rle"], row["area_px"]) for row in table(tmp_path / "a")} == {(None, None)}
    save(tmp_path / "b", "parquet", [(other, nothing)])
    assert table(tmp_path / "b") == []


def test_parquet_is_partitioned_by_source_and_a_new_run_replaces_its_own(tmp_path):
    target = f"parquet:{tmp_path / 'tracks.parquet'}"
    other = dataclasses.replace(INFO, name="other")
    save(tmp_path, target, results([0.0, 0.04, 0.08]))
    save(tmp_path, target, results([0.0]), other)
    save(tmp_path, target, results([0.0]))
    assert sorted(row["source"] for row in table(tmp_path)) == 2 * ["clip"] + 2 * ["other"]


def test_parquet_can_be_read_at_any_moment_and_within_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PART_ROWS", 10)
    monkeypatch.setattr(parquet, "FLUSH_S", 0.0)
    sink = SINKS["parquet"](tmp_path / "tracks.parquet", context())
    assert table(tmp_path) == []
    for count, (frame, tracks) in enumerate(results([i / 25 for i in range(13)]), start=1):
        sink.write(Result(frame, tracks, 1.0))
        assert len(table(tmp_path)) == 2 * count
    parts = sorted(path.name for path in (tmp_path / "tracks.parquet/source=clip").iterdir())
    assert parts == [f"part-0000{i}.parquet" for i in range(3)]
    sink.close()


def test_parquet_on_a_full_disk_keeps_what_it_had(tmp_path, monkeypatch):
    sink = SINKS["parquet"](tmp_path / "tracks.parquet", context())
    first, second = results([0.0, 0.04])
    sink.write(Result(*first, 1.0))
    sink.flush()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    sink.write(Result(*second, 1.0))
    with pytest.raises(SinkError, match=r"source=clip.: No space left on device"):
        sink.flush()
    assert len(table(tmp_path)) == 2


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pipeline.sinks.parquet")
    with pytest.raises(SinkError, match=r"pip install 'deepmask-tracking\[parquet\]'"):
        SINKS["parquet"](tmp_path / "tracks.parquet", context())


@pytest.mark.parametrize("reader", ["with_duckdb", "with_pandas"])
def test_parquet_read_back_by(reader, tmp_path):
    pytest.importorskip(reader.removeprefix("with_"))
    save(tmp_path, "parquet", results([0.0, 0.04, 0.08]))
    (record,) = getattr(read_parquet, reader)(tmp_path / "tracks.parquet")
    assert (record["source"], record["id"], record["frames"]) == ("clip", 3, 3)
    assert record["seconds"] == pytest.approx(0.08)


def test_parquet_demo_prints_a_line_for_each_object(tmp_path, monkeypatch, capsys):
    save(tmp_path, "parquet", results([0.0, 0.04, 0.08]))
    monkeypatch.setattr(sys, "argv", ["read_parquet", str(tmp_path / "tracks.parquet")])
    read_parquet.main()
    assert "clip #3: 0.08 s, 3 frames, 441 px, at most 25x25 at 28,28" in capsys.readouterr().out
    for name in ("with_duckdb", "with_pandas"):
        monkeypatch.setattr(read_parquet, name, lambda _: __import__("no_such_package"))
    read_parquet.main()
    assert capsys.readouterr().out.startswith("skipped: neither DuckDB nor pandas")


def test_two_files_of_one_name_share_a_data_set(tmp_path):
    for run, file in enumerate(["/a/clip.mp4", "/b/clip.mp4", "/a/clip.mp4"]):
        sink = SINKS["parquet"](tmp_path / "all", dataclasses.replace(context(), file=file))
        for frame, tracks in results([0.0, 0.04][: 1 + run % 2]):
            sink.write(Result(frame, tracks, 1.0))
        sink.close()
    rows = pq.read_table(tmp_path / "all").to_pylist()
    assert sorted(row["source"] for row in rows) == 2 * ["clip"] + 4 * ["clip-2"]


def test_parts_of_another_program_stay(tmp_path):
    part = tmp_path / "source=clip" / parquet.FIRST_PART
    part.parent.mkdir()
    pq.write_table(parquet.SCHEMA.empty_table(), part)
    before = part.read_bytes()
    SINKS["parquet"](tmp_path, context()).close()
    assert part.read_bytes() == before
    assert (tmp_path / "source=clip-2" / parquet.FIRST_PART).exists()


@pytest.mark.parametrize("state", [None, {"part": 0, "rows": 3}])
@pytest.mark.parametrize("content", [b"", b"a,b,c\n", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_part_that_is_no_parquet_file_is_one_line(content, state, tmp_path, monkeypatch):
    folder = tmp_path / "source=clip"
    folder.mkdir()
    (folder / parquet.FIRST_PART).write_bytes(content)
    if state:
        monkeypatch.setattr(parquet, "_is_of", lambda *_: True)
    with pytest.raises(SinkError, match=r"^cannot read '.*/part-00000\.parquet', .*$"):
        SINKS["parquet"](tmp_path, dataclasses.replace(context(), state=state))
    assert (folder / parquet.FIRST_PART).read_bytes() == content


@pytest.mark.parametrize("name", ["1", "0001"])
def test_a_source_whose_name_is_a_number_stays_a_word(name, tmp_path):
    save(tmp_path, "parquet", results([0.0]), dataclasses.replace(INFO, name=name))
    assert {row["source"] for row in table(tmp_path)} == {f"video-{name}"}
