"""Score tracks against ground truth.

    python -m trackers.evaluate --gt DIR --tracks DIR [--masks] [--open-world]

`--gt` holds one folder a sequence: `gt.txt` (MOT), or with `--masks` a folder `masks` of palette
PNG files or `instances.txt` (MOTS); and `seqinfo.ini`. `--tracks` holds SEQ.txt (MOT, or MOTS
with `--masks`) or, with `--masks`, SEQ.jsonl. The table ends with all sequences combined.
"""

from __future__ import annotations

import argparse
import functools
import json
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from trackers import boxes as boxlib
from trackers import metrics
from trackers.masks import read_rle
from trackers.metrics.comparison import EPS
from trackers.metrics.protocol import PROTOCOLS, Protocol, corners, protocol_of, scored
from trackers.motchallenge import by_frame, read_mot, read_mots, read_seqinfo
from trackers.png import read_indices

Rle = dict[str, Any]
FrameIds = tuple[list[int], list[int], NDArray[np.float64]]

IGNORED_LABEL = 10
"""Class of the regions in KITTI-MOTS where nothing counts."""


class Scores(NamedTuple):
    """All metrics of a sequence, or of several added up."""

    hota: metrics.HotaResult
    clear: metrics.ClearResult
    identity: metrics.IdentityResult
    jaccard: metrics.JaccardResult
    objects: int
    tracks: int

    def plus(self, other: Scores) -> Scores:
        """The scores of both sequences together."""
        return Scores(*map(operator.add, self, other))


def score(comparison: metrics.Comparison) -> Scores:
    """All metrics of one sequence."""
    return Scores(
        metrics.hota(comparison),
        metrics.clear(comparison),
        metrics.identity(comparison),
        metrics.jaccard(comparison),
        len(comparison.truth_counts),
        len(comparison.track_counts),
    )


# Boxes.


def compare_boxes(folder: Path, result: Path, protocol: Protocol) -> metrics.Comparison:
    """Truth and result of one sequence in MOT text."""
    source = _truth_file(folder)
    truth, tracks = read_mot(source), read_mot(result)
    if len(truth) and not (truth[:, 6] > 0).any():
        raise ValueError(
            f"{source}: no row counts, as column 7 is never above 0; is it a result, not the truth?"
        )
    length = read_seqinfo(folder).length
    if length is None:
        length = int(max(truth[:, 0].max(initial=0), tracks[:, 0].max(initial=0)))
    frames = zip(by_frame(truth, length, source), by_frame(tracks, length, result), strict=True)
    return metrics.compare(_box_frame(g, t, protocol) for g, t in frames)


def _box_frame(
    truth: NDArray[np.float64], tracks: NDArray[np.float64], protocol: Protocol
) -> FrameIds:
    truth, tracks = scored(truth, tracks, protocol)
    ids = truth[:, 1].astype(int).tolist(), tracks[:, 1].astype(int).tolist()
    return *ids, boxlib.iou(corners(truth), corners(tracks))


def _truth_file(folder: Path) -> Path:
    nested = folder / "gt" / "gt.txt"
    return nested if nested.is_file() else folder / "gt.txt"


# Masks.


def compare_masks(folder: Path, result: Path) -> metrics.Comparison:
    """Truth and result of one sequence of masks."""
    truth = read_mask_truth(folder)
    tracks = _read_mask_tracks(result)
    length = read_seqinfo(folder).length or max([*truth, *tracks], default=-1) + 1
    return metrics.compare(compare_mask_frames(truth, tracks, length))


class MaskFrame(NamedTuple):
    """Masks of one frame."""

    ids: list[int]
    masks: list[Rle]
    ignored: Rle | None
    """Region where a report that matches nothing is not counted."""


def compare_mask_frames(
    truth: dict[int, MaskFrame], tracks: dict[int, MaskFrame], length: int
) -> Iterator[FrameIds]:
    """Ids and similarities of the frames 0 ... `length` - 1."""
    nothing = MaskFrame([], [], None)
    for k in range(length):
        yield _mask_frame(truth.get(k, nothing), tracks.get(k, nothing))


def _mask_frame(truth: MaskFrame, tracks: MaskFrame) -> FrameIds:
    sized = truth.masks[0] if truth.masks else truth.ignored
    masks = [_resized(m, sized["size"]) if sized else m for m in tracks.masks]
    filled = [k for k, m in enumerate(masks) if coco_mask.area(m) > 0]
    masks, ids = [masks[k] for k in filled], [tracks.ids[k] for k in filled]
    similarity = np.zeros((len(truth.masks), len(masks)))
    if similarity.size:
        similarity[:] = coco_mask.iou(truth.masks, masks, [0] * len(masks))
    if truth.ignored is None or not masks:
        return truth.ids, ids, similarity
    gain = np.where(similarity < 0.5 - EPS, 0.0, similarity)
    row, column = linear_sum_assignment(gain, maximize=True)
    free = np.ones(len(masks), bool)
    free[column[gain[row, column] > EPS]] = False
    shared = [coco_mask.area(coco_mask.merge([m, truth.ignored], intersect=True)) for m in masks]
    inside = np.array(shared) / np.array([coco_mask.area(m) for m in masks]) > 0.5 + EPS
    keep = np.flatnonzero(~(free & inside)).tolist()
    return truth.ids, [ids[k] for k in keep], similarity[:, keep]


def read_mask_truth(folder: Path) -> dict[int, MaskFrame]:
    """Annotated masks of a sequence by frame, counted from 0: `masks/*.png` or `instances.txt`."""
    frames = {}
    if (folder / "masks").is_dir():
        for path in sorted((folder / "masks").glob("*.png")):
            if not path.stem.isdecimal():
                raise ValueError(f"{path}: expected the number of its frame as its name: 00042.png")
            indices = read_indices(path)
            ids = [int(i) for i in np.unique(indices) if i]
            frames[int(path.stem)] = MaskFrame(ids, [_encode(indices == i) for i in ids], None)
        return frames
    for frame, rows in read_mots(folder / "instances.txt").items():
        things = [row for row in rows if row.label != IGNORED_LABEL]
        regions = [row.rle for row in rows if row.label == IGNORED_LABEL]
        ignored = coco_mask.merge(regions) if regions else None
        frames[frame] = MaskFrame([r.id for r in things], [r.rle for r in things], ignored)
    return frames


def _read_mask_tracks(path: Path) -> dict[int, MaskFrame]:
    """Reported masks by frame, counted from 0, from MOTS text or `tracks.jsonl`."""
    if path.suffix == ".txt":
        rows = read_mots(path)
        return {k: MaskFrame([r.id for r in v], [r.rle for r in v], None) for k, v in rows.items()}
    frames = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                tracks = [t for t in record["tracks"] if t.get("mask")]
                ids, masks = [int(t["id"]) for t in tracks], [_from_json(t["mask"]) for t in tracks]
                frames[int(record["frame"])] = MaskFrame(ids, masks, None)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path}:{number}: not a line of tracks.jsonl ({error})"
                ) from error
    return frames


def _from_json(mask: dict[str, Any]) -> Rle:
    return read_rle(mask["size"], mask["counts"])


def _encode(mask: NDArray[np.bool_]) -> Rle:
    rle: Rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return rle


def _resized(rle: Rle, size: Sequence[int]) -> Rle:
    """The mask at the truth's size; video of odd size may have lost or won one row or column."""
    if list(rle["size"]) == list(size):
        return rle
    (height, width), (h, w) = size, rle["size"]
    if abs(height - h) > 1 or abs(width - w) > 1:
        raise ValueError(f"a result mask is {w}x{h}, the ground truth is {width}x{height}")
    out = np.zeros((height, width), bool)
    part = coco_mask.decode(rle)[:height, :width]
    out[: part.shape[0], : part.shape[1]] = part
    return _encode(out)


# Command line.


def find_sequences(root: Path, is_one: Callable[[Path], bool]) -> dict[str, Path]:
    """Folders under `root`, or `root` itself, that are sequences, by name; none lies in another.

    Raises:
        ValueError: There are none, or two of one name.
    """
    if not root.is_dir():
        raise ValueError(f"no such folder: {root}")
    found: dict[str, Path] = {}
    for folder in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
        # `SEQ/gt/gt.txt` makes a sequence of SEQ, not of SEQ/gt.
        if is_one(folder) and not any(one in folder.parents for one in found.values()):
            name = folder.resolve().name
            if name in found:
                raise ValueError(
                    f"two sequences are called {name!r} under {root}: score one set at a time"
                )
            found[name] = folder
    if not found:
        raise ValueError(f"no sequences under {root}")
    return found


def evaluate(
    gt: Path, tracks: Path, *, masks: bool = False, protocol: Protocol | None = None
) -> dict[str, Scores]:
    """Scores of every sequence under `gt`, and of all together as `COMBINED`.

    Args:
        gt: Folder with one folder a sequence.
        tracks: Folder with one file a sequence.
        masks: Compare masks instead of boxes.
        protocol: What is left out of the score; None goes by the names in the path.

    Raises:
        ValueError: Files are missing or not of the form they should be.
    """
    is_one = _has_masks if masks else (lambda folder: _truth_file(folder).is_file())
    out: dict[str, Scores] = {}
    for name, folder in find_sequences(gt, is_one).items():
        result = _result_file(tracks, name, masks)
        if masks:
            comparison = compare_masks(folder, result)
        else:
            rules = protocol or protocol_of(str(folder.resolve()))
            comparison = compare_boxes(folder, result, rules)
        out[name] = score(comparison)
    out["COMBINED"] = functools.reduce(Scores.plus, out.values())
    return out


def _has_masks(folder: Path) -> bool:
    if (folder / "instances.txt").is_file():
        return True
    return (folder / "masks").is_dir() and any((folder / "masks").glob("*.png"))


def _result_file(tracks: Path, name: str, masks: bool) -> Path:
    names = [f"{name}.jsonl", f"{name}.txt"] if masks else [f"{name}.txt"]
    for candidate in names:
        if (tracks / candidate).is_file():
            return tracks / candidate
    raise ValueError(f"no {' or '.join(names)} in {tracks}")


def table(scores: dict[str, Scores], *, masks: bool, open_world: bool) -> str:
    """The scores as text, rates in per cent."""
    columns: list[tuple[str, Callable[[Scores], float | int]]] = [
        ("HOTA", lambda s: s.hota.HOTA),
        ("DetA", lambda s: s.hota.DetA),
        ("AssA", lambda s: s.hota.AssA),
        ("MOTA", lambda s: s.clear.MOTA),
        ("IDF1", lambda s: s.identity.IDF1),
        ("IDSW", lambda s: s.clear.IDSW),
        ("Frag", lambda s: s.clear.Frag),
        ("FP", lambda s: s.clear.FP),
        ("FN", lambda s: s.clear.FN),
        ("objects", lambda s: s.objects),
        ("tracks", lambda s: s.tracks),
    ]
    if open_world:
        columns[3:3] = [("OWTA", lambda s: s.hota.OWTA), ("DetRe", lambda s: s.hota.DetRe)]
    if masks:
        columns[-2:-2] = [("J", lambda s: s.jaccard.J), ("J-oracle", lambda s: s.jaccard.J_oracle)]
    rows = [["sequence", *(name for name, _ in columns)]]
    rows += [[name, *(_cell(value(s)) for _, value in columns)] for name, s in scores.items()]
    return _aligned(rows)


def _cell(value: float | int) -> str:
    return f"{value}" if isinstance(value, int) else f"{100 * value:.2f}"


def _aligned(rows: Iterable[list[str]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="trackers.evaluate", description="Score tracks against ground truth."
    )
    parser.add_argument("--gt", type=Path, required=True, help="folder with one folder a sequence")
    parser.add_argument(
        "--tracks", type=Path, required=True, help="folder with SEQ.txt or SEQ.jsonl"
    )
    parser.add_argument("--masks", action="store_true", help="compare masks instead of boxes")
    parser.add_argument("--open-world", action="store_true", help="add OWTA and DetRe")
    parser.add_argument(
        "--protocol",
        choices=["auto", *PROTOCOLS],
        default="auto",
        help="what is not scored; auto goes by the names in the path",
    )
    options = parser.parse_args(arguments)
    protocol = None if options.protocol == "auto" else options.protocol
    try:
        scores = evaluate(options.gt, options.tracks, masks=options.masks, protocol=protocol)
    except (ValueError, OSError) as error:
        print(f"trackers.evaluate: {error}", file=sys.stderr)
        return 2
    print(table(scores, masks=options.masks, open_world=options.open_world))
    return 0


if __name__ == "__main__":
    sys.exit(main())
