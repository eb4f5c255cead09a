"""What each choice in the training and shape of the network is worth: trainings of one length.

    python -m benchmarks.training_ablation --data DIR --output DIR [--train images=12000] [--list]

DIR of `--data` holds the sets of docs/training.md. Every training is the first one with one thing
changed, from ImageNet's weights. They run one after the other, each in a folder of OUTPUT; started
again, the command goes on where it was stopped. Each is measured as `benchmarks.network_ablation`
does it, and OUTPUT/table.md holds what is known so far. `--train` changes all of them: longer
ones, say.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import measuring
from benchmarks.network_ablation import (
    COLUMNS,
    Row,
    Variant,
    arguments,
    as_table,
    cells,
    measure,
)
from deepmask.training.coco import load_set

BUDGET = ("images=12000", "validate_every=2")

TRAININGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "trunk lite1": ("network.trunk=lite1",),
    "trunk lite2": ("network.trunk=lite2",),
    "mask: low-rank alone": ("network.refinement=none",),
    "mask: convolution without stride-4 detail": ("network.refinement=convolution",),
    "no copy-paste": ("data.paste=0", "data.scattered=0"),
    "no scattered small objects": ("data.scattered=0",),
    "predicted IoU of objects alone": ("mistakes=0",),
    "no machine-made labels": ("data.min_label_score=1",),
    "no blur, noise or compression": ("data.degrade=0",),
    "crops of 384 px": ("stages=[{size_px: 384, batch: 12, long_side_px: [280, 900]}]",),
}
"""Name -> what is changed."""

NO_SPACES = str.maketrans(" ", "-", ",:")


def command(name: str, data: Path, output: Path, settings: Sequence[str]) -> list[str]:
    """The training `name`, with `settings` for all trainings."""
    given = (*BUDGET, *settings, *TRAININGS[name])
    words = ["-m", "deepmask.training.train", "--data", str(data), "--output", str(output)]
    return [*words, *measuring.settings_flags(given)]


def train(name: str, data: Path, output: Path, settings: Sequence[str]) -> Path:
    """Run the training `name` to its end, from where it was; gives its weights."""
    words = command(name, data, output, settings)
    if (output / "resume.pt").exists():
        words.append("--resume")
    subprocess.run([sys.executable, *words], check=True)
    return output / "weights.safetensors"


def table(rows: Mapping[str, Row]) -> str:
    """All trainings, with the figures of those that have run."""
    lines = []
    for name, settings in TRAININGS.items():
        what = " ".join(f"`--set {shlex.quote(setting)}`" for setting in settings)
        known = cells(rows[name]) if name in rows else ["not run"] * len(COLUMNS)
        lines.append([name, what, *known])
    return as_table(("", "changed", *COLUMNS), lines)


def main() -> None:
    """Train, measure and print."""
    parser = arguments("training_ablation", __doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--train", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--list", action="store_true", help="only print the commands")
    options = parser.parse_args()
    folders = {name: options.output / name.translate(NO_SPACES) for name in TRAININGS}
    if options.list:
        for name, folder in folders.items():
            print("python", shlex.join(command(name, options.data, folder, options.train)))
        return

    about = measuring.announce()
    val, novel = (load_set(options.data, name)[: options.limit] for name in ("val", "val-novel"))
    rows: dict[str, Row] = {}
    for name, folder in folders.items():
        known = folder / "measured.json"
        words = command(name, options.data, folder, options.train)
        if not known.exists():
            weights = train(name, options.data, folder, options.train)
            variant = Variant(name, (f"detector.weights={weights}",))
            (row,) = measure([variant], options.set, val, novel)
            measuring.save(known, {"command": words, "row": row._asdict()})
        done = json.loads(known.read_text(encoding="utf-8"))
        if done.get("command") != words:
            raise FileExistsError(f"{known} is of other settings: give another --output")
        rows[name] = Row(**done["row"])
        (options.output / "table.md").write_text(table(rows) + "\n", encoding="utf-8")
    print(table(rows))
    measuring.save(options.json, about | {"rows": [row._asdict() for row in rows.values()]})


if __name__ == "__main__":
    measuring.start(main)
