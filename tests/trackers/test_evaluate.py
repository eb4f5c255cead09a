"""The command lines on small folders: run the tracker, score it, and every mistake a user makes."""

import json

import numpy as np
import pytest

from trackers import Masks, evaluate, run
from trackers.metrics.protocol import protocol_of, scored


@pytest.fixture
def pack(tmp_path):
    """Two sequences of two objects that move to the right, with truth and detections."""
    for name in ("one", "two"):
        folder = tmp_path / "pack" / name
        folder.mkdir(parents=True)
        (folder / "seqinfo.ini").write_text(
            "[Sequence]\nframeRate=10\nseqLength=20\n", encoding="utf-8"
        )
        truth, seen = [], []
        for k in range(1, 21):
            for i, y in ((1, 20), (2, 120)):
                truth.append(f"{k},{i},{10 + 3 * k},{y},30,40,1,1,1")
                seen.append(f"{k},-1,{10 + 3 * k},{y},30,40,0.9")
        (folder / "gt.txt").write_text("\n".join(truth), encoding="utf-8")
        (folder / "det.txt").write_text("\n".join(seen), encoding="utf-8")
    return tmp_path / "pack"


def test_perfect_detections_give_perfect_scores(pack, tmp_path, capsys):
    assert run.main([str(pack), "--output", str(tmp_path / "out")]) == 0
    first = (tmp_path / "out" / "one.txt").read_text(encoding="utf-8").splitlines()[0]
    assert first == "1,1,13.00,20.00,30.00,40.00,0.9000,-1,-1,-1"
    command = ["--gt", str(pack), "--tracks", str(tmp_path / "out"), "--open-world"]
    assert evaluate.main(command) == 0
    header, *rows = capsys.readouterr().out.splitlines()[-4:]
    names = header.split()
    assert names[:5] == ["sequence", "HOTA", "DetA", "AssA", "OWTA"]
    for row in rows:
        values = dict(zip(names, row.split(), strict=True))
        assert (values["HOTA"], values["MOTA"], values["IDF1"]) == ("100.00",) * 3
    assert rows[-1].startswith("COMBINED")


def test_the_layout_of_motchallenge_is_one_sequence_a_folder(pack, tmp_path):
    for folder in list(pack.iterdir()):
        for name in ("gt", "det"):
            (folder / name).mkdir()
            (folder / f"{name}.txt").rename(folder / name / f"{name}.txt")
    assert run.main([str(pack), "--output", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.txt", "two.txt"]
    assert list(evaluate.evaluate(pack, tmp_path / "out")) == ["one", "two", "COMBINED"]


def test_settings_reach_the_tracker(pack, tmp_path):
    command = [str(pack), "--output", str(tmp_path), "--set", "birth_score=0.95"]
    assert run.main(command) == 0
    assert (tmp_path / "one.txt").read_text(encoding="utf-8") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--output", "out"], "no such folder: nowhere"),
        (["empty", "--output", "out"], "no sequences under empty"),
        (["pack", "--output", "out", "--set", "lost=3"], "lost_s"),
        (["pack", "--output", "out", "--set", "lost_s=soon"], "lost_s"),
        (["pack", "--output", "out", "--set", "lost_s=-1"], "lost_s"),
        (["pack", "--output", "out", "--set", "birth_score=50"], "birth_score should lie in"),
        (["pack", "--output", "out", "--set", "parts.memory_s=0"], "memory_s should be above 0"),
        (["pack", "--output", "out", "--set", "motion.size_decay_s=0"], "should be above 0, got 0"),
        (["pack", "--output", "out", "--set", "motion.centre_noise=-1"], "should be 0 or more"),
        (["bad", "--output", "out"], r"det.txt: frame 2: Detections.boxes row 0 has no area"),
    ],
)
def test_mistakes_are_one_line(pack, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad" / "s").mkdir(parents=True)
    (tmp_path / "bad" / "s" / "det.txt").write_text(
        "1,-1,5,5,5,5,1\n2,-1,5,5,0,5,1\n", encoding="utf-8"
    )
    assert run.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_tracks_are_one_line(pack, tmp_path, capsys):
    assert evaluate.main(["--gt", str(pack), "--tracks", str(tmp_path)]) == 2
    assert "no one.txt in" in capsys.readouterr().err


def test_a_mask_without_a_frame_number_is_one_line(tmp_path, capsys):
    (tmp_path / "gt" / "one" / "masks").mkdir(parents=True)
    (tmp_path / "gt" / "one" / "masks" / "frame_1.png").touch()
    (tmp_path / "one.jsonl").touch()
    command = ["--gt", str(tmp_path / "gt"), "--tracks", str(tmp_path), "--masks"]
    assert evaluate.main(command) == 2
    assert "frame_1.png: expected the number of its frame" in capsys.readouterr().err


def test_masks_are_scored_from_jsonl_and_text(tmp_path):
    folder, tracks = tmp_path / "gt" / "clip", tmp_path / "tracks"
    folder.mkdir(parents=True)
    tracks.mkdir()
    truth, lines, records = [], [], []
    for k in range(6):
        dense = np.zeros((2, 30, 40), bool)
        dense[0, 5:15, 2 + k : 12 + k] = True
        dense[1, 18:28, 2 + k : 12 + k] = True
        rles = [Masks.from_dense(dense).rle(i) for i in range(2)]
        truth += [f"{k} {i + 1} 2 30 40 {rle['counts']}" for i, rle in enumerate(rles)]
        truth += [f"{k} 10000 10 30 40 {rles[1]['counts']}"] if k == 5 else []
        lines += [f"{k} {7 + i} 1 30 40 {rle['counts']}" for i, rle in enumerate(rles)]
        found = [{"id": 7 + i, "mask": rle} for i, rle in enumerate(rles) if (k, i) != (2, 1)]
        records.append(json.dumps({"frame": k, "tracks": found}))
    (folder / "instances.txt").write_text("\n".join(truth), encoding="utf-8")
    (tracks / "clip.txt").write_text("\n".join(lines), encoding="utf-8")
    scores = evaluate.evaluate(folder.parent, tracks, masks=True)["clip"]
    np.testing.assert_allclose([scores.hota.HOTA, scores.jaccard.J], [1.0, 1.0])
    (tracks / "clip.jsonl").write_text("\n".join(records), encoding="utf-8")
    scores = evaluate.evaluate(folder.parent, tracks, masks=True)["clip"]
    assert (scores.clear.TP, scores.clear.FN, scores.clear.FP) == (11, 1, 0)
    np.testing.assert_allclose(scores.jaccard.J, (1 + 5 / 6) / 2)


def rows(*values):
    return np.array(values, float).reshape(-1, 9)


def test_mot17_leaves_out_what_matches_a_distractor():
    """A person (class 1) and a reflection (class 12), both found, and a report of nothing."""
    truth = rows([1, 1, 0, 0, 10, 20, 1, 1, 1], [1, 2, 50, 0, 10, 20, 0, 12, 1])
    found = rows(
        [1, 5, 0, 0, 10, 20, 1, 1, 1],
        [1, 6, 50, 0, 10, 20, 1, 1, 1],
        [1, 7, 90, 0, 10, 20, 1, 1, 1],
    )
    kept, reports = scored(truth, found, "mot17")
    assert kept[:, 1].tolist() == [1]
    assert reports[:, 1].tolist() == [5, 7]
    kept, reports = scored(truth, found, "plain")
    assert len(reports) == 3


def test_kitti_leaves_out_small_boxes_and_unannotated_regions():
    truth = rows([1, 1, 0, 0, 30, 40, 1, 1, 1], [1, -1, 100, 0, 100, 100, 0, -1, 1])
    found = rows(
        [1, 5, 0, 0, 30, 40, 1, 1, 1],  # the object
        [1, 6, 120, 20, 30, 40, 1, 1, 1],  # inside DontCare
        [1, 7, 0, 80, 30, 20, 1, 1, 1],  # too low
        [1, 8, 0, 120, 30, 40, 1, 1, 1],  # nothing
    )
    kept, reports = scored(truth, found, "kitti")
    assert kept[:, 1].tolist() == [1]
    assert reports[:, 1].tolist() == [5, 8]
    truth[1, 6] = 1  # A region is no object whatever it is flagged, in a frame without reports too.
    for reported in (found, found[:0]):
        assert scored(truth, reported, "kitti")[0][:, 1].tolist() == [1]
    assert [len(part) for part in scored(truth[:0], found[:0], "mot17")] == [0, 0]


def test_the_protocol_goes_by_the_path():
    names = ["a/MOT17-val/MOT17-04", "MOT20-01", "kitti/0003", "dance"]
    assert [protocol_of(n) for n in names] == ["mot17", "mot20", "kitti", "plain"]


def test_masks_reported_after_the_last_truth_count(tmp_path, capsys):
    mask = Masks.from_dense(np.ones((1, 4, 6), bool)).rle(0)["counts"]
    (tmp_path / "gt" / "a").mkdir(parents=True)
    (tmp_path / "gt" / "a" / "instances.txt").write_text(f"0 1 1 4 6 {mask}\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text(
        "".join(f"{k} 1 1 4 6 {mask}\n" for k in range(5)), encoding="utf-8"
    )
    folders = ["--gt", str(tmp_path / "gt"), "--tracks", str(tmp_path)]
    assert evaluate.main([*folders, "--masks"]) == 0
    header, *_, combined = capsys.readouterr().out.splitlines()
    assert dict(zip(header.split(), combined.split(), strict=True))["FP"] == "4"


@pytest.mark.parametrize("counts", ["b3Z", "1" * 50, "\u00e9"])
def test_a_damaged_mask_is_named_by_its_line(counts, tmp_path, capsys):
    (tmp_path / "gt" / "a").mkdir(parents=True)
    (tmp_path / "gt" / "a" / "instances.txt").write_text(f"0 1 1 4 6 {counts}\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("", encoding="utf-8")
    assert evaluate.main(["--gt", str(tmp_path / "gt"), "--tracks", str(tmp_path), "--masks"]) == 2
    assert "instances.txt:1: runs of a mask do not cover 4 x 6" in capsys.readouterr().err


@pytest.mark.parametrize("frame", ["inf", "nan", "1.5", "1e12", "-3"])
def test_a_frame_that_is_none_is_named_by_its_line(frame, pack, tmp_path, capsys):
    (pack / "one" / "det.txt").write_text(f"{frame},-1,1,2,3,4,0.9\n", encoding="utf-8")
    assert run.main([str(pack), "--output", str(tmp_path / "out")]) == 2
    assert "det.txt:1: frame and id should be whole numbers" in capsys.readouterr().err
