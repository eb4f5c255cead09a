"""The tracks as a Parquet data set: one row an object and frame, partitioned by source."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import SinkError
from pipeline.sinks.base import FLUSH_S, Result, SinkContext, State

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise SinkError(
        "parquet needs pyarrow, which is not installed: pip install 'deepmask-tracking[parquet]'"
    ) from error

FIRST_PART = "part-00000.parquet"
PART_ROWS = 20_000
"""A part with so many rows is finished, and the next one begins."""

ORIGIN = b"deepmask.source"
"""In the metadata of each part: the file it is of, or the name of the stream."""

SCHEMA = pa.schema(
    [
        ("frame", pa.int64()),
        ("time_s", pa.float64()),
        ("id", pa.int64()),
        ("state", pa.string()),
        *((name, pa.float32()) for name in ["score", "x1", "y1", "x2", "y2", "vx", "vy", "age_s"]),
        ("area_px", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("rle", pa.string()),
    ]
)
"""Columns, as documented in docs/outputs.md; `area_px` and `rle` are null without masks."""


class ParquetSink:
    """Writes `TARGET/source=NAME/part-00000.parquet` and so on.

    A Parquet file can be read only once its end is there. Therefore the part that grows is written
    anew, whole, every half second, and takes the place of the one before: at any moment there are
    only readable files, with every row once. Parts are small, so that this stays cheap.

    Args:
        target: folder of the data set; what it holds of the same source is replaced. A name is a
            word, never a number, for readers that guess types; where another source has it, it is
            counted up.
        context: of the run.

    Raises:
        SinkError: it cannot be written.
    """

    def __init__(self, target: Path | None, context: SinkContext) -> None:
        if target is None:
            raise SinkError("parquet cannot go to standard output")
        self._part = 0
        self._table = SCHEMA.empty_table()
        self._waiting: list[Any] = []
        self._written_s = time.monotonic()
        origin = context.file or context.info.name
        self._metadata = {ORIGIN: origin.encode("utf-8", "surrogateescape")}
        try:
            self._folder = _partition(target, context.info.name, self._metadata)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._go_on(context.state or {"part": 0, "rows": 0})
        except OSError as error:
            raise _failed(target, error) from error

    def write(self, result: Result) -> None:
        if len(result.tracks):
            self._waiting.append(_rows(result))
        full = len(self._table) + sum(map(len, self._waiting)) >= PART_ROWS
        if full or time.monotonic() - self._written_s > FLUSH_S:
            self.flush()
        if full:
            self._part, self._table = self._part + 1, SCHEMA.empty_table()

    def flush(self) -> None:
        self._written_s = time.monotonic()
        if not self._waiting:
            return
        self._table = pa.concat_tables([self._table, *self._waiting]).combine_chunks()
        self._waiting = []
        try:
            self._write_part()
        except OSError as error:
            raise _failed(self._folder, error) from error

    def mark(self) -> State:
        self.flush()
        return {"part": self._part, "rows": len(self._table)}

    def close(self) -> None:
        self.flush()

    def _go_on(self, state: State) -> None:
        """Keep the parts before this, and its first rows."""
        self._part = state["part"]
        if state["rows"]:
            with _reading(self._path()):
                table = pq.read_table(self._path(), schema=SCHEMA)
            self._table = table[: state["rows"]].combine_chunks()
        for part in self._folder.glob("part-*.parquet"):
            if part >= self._path():
                part.unlink()
        self._write_part()

    def _path(self) -> Path:
        return self._folder / f"part-{self._part:05}.parquet"

    def _write_part(self) -> None:
        path = self._path()
        whole = path.with_name(f".{path.name}")
        try:
            table = self._table.replace_schema_metadata(self._metadata)
            pq.write_table(table, whole, compression="zstd")
            whole.replace(path)
        finally:
            whole.unlink(missing_ok=True)


def _failed(folder: Path, error: OSError) -> SinkError:
    return SinkError(f"cannot write to {str(folder)!r}: {error.strerror or error}")


def _partition(target: Path, name: str, origin: dict[bytes, bytes]) -> Path:
    """The folder of a source in a data set: that of this source, or one that nobody has."""
    name = f"video-{name}" if name.isdecimal() else name
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    folders = (target / f"source={each}" for each in names)
    return next(folder for folder in folders if _is_of(folder / FIRST_PART, origin))


def _is_of(part: Path, origin: dict[bytes, bytes]) -> bool:
    """Whether this part is of the same source, or not there."""
    if not part.is_file():
        return True
    with _reading(part):
        return origin.items() <= (pq.read_schema(part).metadata or {}).items()


@contextmanager
def _reading(part: Path) -> Iterator[None]:
    """Make errors of reading a part ours."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise SinkError(
            f"cannot read {str(part)!r}, which should be a Parquet file of an earlier run: {why}; "
            "move it away, or name another folder with --save parquet:FOLDER"
        ) from error


def _rows(result: Result) -> Any:
    """The rows of one frame, as a table."""
    tracks, frame = result.tracks, result.frame
    n, masks = len(tracks), tracks.masks
    numbers = [tracks.scores, *tracks.boxes.T, *tracks.velocities.T, tracks.ages_s]
    columns = [
        np.full(n, frame.index),
        np.full(n, frame.time_s),
        tracks.ids,
        tracks.states,
        *map(np.ascontiguousarray, numbers),
        [None] * n if masks is None else masks.areas(),
        np.full(n, frame.height),
        np.full(n, frame.width),
        [None if masks is None else masks.rle(i)["counts"] for i in range(n)],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)
