"""What each part of the tracker pays: one is left out or changed, and data sets are scored again.

    python -m benchmarks.tracker_ablation DATA/SET... [--json FILE]

A SET is a folder of sequences as `trackers.run` and `trackers.evaluate` take it, with detections
and truth. Prints a Markdown table, a row for each variant. Cells are HOTA / IDF1 / MOTA in per
cent, then how many identities were reported of how many objects.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import measuring
from trackers.evaluate import Scores, evaluate, find_sequences
from trackers.run import detection_file, track_sequence

VARIANTS = {
    "default": (),
    "no recovery": ("recovery_overlap=1",),
    "recovery as long as it is lost": ("recovery_s=10",),
    "no overlap of heights": ("height_weight=0",),
    "no second pass": ("weak_score=0.45",),
    "births beside known objects": ("birth_overlap=1",),
    "two sightings are enough": ("confirm_evidence=0",),
    "new objects start at rest": ("camera_objects=1000",),
    "boxes as measured": ("steady_boxes=false",),
    "larger overlap needed": ("min_overlap=0.3",),
    "fewer strong detections": ("strong_score=0.6",),
}


def scores(data: Path, overrides: Sequence[str]) -> Scores:
    """All sequences of a data set together, tracked with the settings `overrides`."""
    config = measuring.tracker_config(overrides)
    with tempfile.TemporaryDirectory() as folder:
        for name, sequence in find_sequences(data, lambda f: detection_file(f) is not None).items():
            lines = track_sequence(sequence, config)
            (Path(folder) / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
        return evaluate(data, Path(folder))["COMBINED"]


def cell(s: Scores) -> str:
    """HOTA / IDF1 / MOTA, identities of objects."""
    rates = (s.hota.HOTA, s.identity.IDF1, s.clear.MOTA)
    return " / ".join(f"{100 * rate:.1f}" for rate in rates) + f", {s.tracks} of {s.objects}"


def main() -> None:
    """Print the table."""
    parser = measuring.arguments("tracker_ablation", __doc__, measuring.TRACKER)
    parser.add_argument("sets", nargs="+", type=Path, help="folders of sequences")
    options = parser.parse_args()
    about, rows = measuring.announce(), {}
    print("| |", " | ".join(folder.name for folder in options.sets), "|")
    print("|---|" + "---|" * len(options.sets))
    for name, overrides in VARIANTS.items():
        title = f"{name} (`{' '.join(overrides)}`)" if overrides else name
        cells = [cell(scores(folder, [*options.set, *overrides])) for folder in options.sets]
        print(f"| {title} |", " | ".join(cells), "|", flush=True)
        rows[title] = dict(zip((folder.name for folder in options.sets), cells, strict=True))
    measuring.save(options.json, about | {"rows": rows})


if __name__ == "__main__":
    measuring.start(main)
