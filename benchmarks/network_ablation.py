"""What each choice in the network as deployed is worth: recall, working point, time.

    python -m benchmarks.network_ablation --data DIR [--limit 40] [--set detector.weights=FILE]

DIR holds the sets `val` (all objects labelled) and `val-novel` (kinds that training never showed).
Every row is the default with one thing changed; no training is needed. Average recall is that of
the masks on `val`, with the suppression of duplicates and parts that the tracker gets. The working
point is the threshold that gives ten results a picture of `val`: recall at IoU .5 there, and on
`val-novel` with the results a picture at the same threshold. Time is that of the dense part
(trunk, pyramid, objectness) for a picture of 640x480. `benchmarks.training_ablation` has what
needs training.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import configs
from benchmarks import measuring
from deepmask import checkpoint
from deepmask.deploy import DeployConfig, Look, look, open_runtime
from deepmask.evaluate import Result, average_recall, results_of
from deepmask.geometry import input_size
from deepmask.proposals import Windows, merge, propose
from deepmask.runtime import Runtime
from deepmask.training.coco import Photograph, load_set
from pipeline.config import PipelineConfig

RANKED = (
    "detector.decoded=200",
    "detector.proposals.max_count=100",
    "detector.proposals.min_score=0",
)
"""In all rows: ranked proposals without a threshold."""
RESULTS = 10
"""A picture of `val`, at the working point."""
NOTHING_SCORES = 1.1
PICTURE = (480, 640)


def same(windows: Windows) -> Windows:
    """The score as it is, sqrt(objectness x predicted IoU)."""
    return windows


def by_objectness(windows: Windows) -> Windows:
    """Scored by objectness alone."""
    return dataclasses.replace(windows, quality=windows.objectness)


def by_quality(windows: Windows) -> Windows:
    """Scored by predicted IoU alone; where to look is still chosen by objectness."""
    return dataclasses.replace(windows, objectness=windows.quality)


SILENCED = {
    "mask: low-rank alone, not refined": "mask_head.dynamic",
    "mask: vector not corrected": "mask_head.correct.2",
    "mask: without the tower's context": "score_tower.context",
}
"""Parts of the network that add to what is there without them."""

COLUMNS = (
    "AR@10",
    "AR@100",
    "S / M / L @100",
    "val, IoU .5",
    "novel, IoU .5 (results)",
    "CPU-ms",
)


class Variant(NamedTuple):
    """The network with something changed."""

    name: str
    settings: tuple[str, ...] = ()
    preset: str | None = None
    score: Callable[[Windows], Windows] = same


class Computed(NamedTuple):
    """A network, and in what numbers it is computed."""

    weights: str
    precision: str


class Row(NamedTuple):
    """What a variant reaches. Recall is of masks, in [0, 1]."""

    name: str
    ar10: float
    ar100: float
    small: float
    medium: float
    large: float
    val: float
    """At the working point, at IoU .5."""
    novel: float
    novel_results: float
    """Results a picture of `val-novel` there."""
    dense_ms: float
    """CPU time."""


def variants(weights: str, folder: Path) -> list[Variant]:
    """The rows of the table.

    Args:
        weights: name or file.
        folder: where changed weights are put.
    """
    whole = checkpoint.find_weights(weights)
    there = dict(checkpoint.load(whole).named_modules())
    silenced = {
        name: write_silenced(whole, part, folder)
        for name, part in SILENCED.items()
        if part in there
    }
    return [
        Variant("default"),
        Variant("preset fast: 384 px", preset="fast"),
        Variant("preset accurate: 384 to 1088 px, mirrored too", preset="accurate"),
        *(
            Variant(f"input {sizes} px", (f"detector.sizes_px={sizes}",))
            for sizes in ("320", "448", "640", "832", "320, 640", "384, 832")
        ),
        Variant("computed in bf16", ("detector.precision=bf16",)),
        Variant("score: objectness alone", score=by_objectness),
        Variant("score: predicted IoU alone", score=by_quality),
        *(Variant(name, (f"detector.weights={path}",)) for name, path in silenced.items()),
        *changed("follow_edges", "false"),
        *changed("mask_threshold", "0.4", "0.5", "0.55"),
        *changed("vote_iou", "0.5", "0.7", "1"),
        *changed("max_iou", "0.6", "0.8", "1"),
        *changed("max_inside", "0.8", "1"),
        *changed("whole_bonus", "0", "0.1"),
    ]


def changed(setting: str, *values: str) -> list[Variant]:
    """One variant for each value of a setting of `ProposalConfig`."""
    return [
        Variant(f"{setting} {value}", (f"detector.proposals.{setting}={value}",))
        for value in values
    ]


def write_silenced(weights: Path, part: str, folder: Path) -> Path:
    """A file with the same weights, but for those of a part of the network: it adds nothing."""
    network = checkpoint.load(weights)
    for parameter in network.get_submodule(part).parameters():
        parameter.zero_()
    path = folder / f"without-{part}.safetensors"
    checkpoint.save(path, network)
    return path


def measure(
    chosen: Sequence[Variant],
    settings: Sequence[str],
    val: Sequence[Photograph],
    novel: Sequence[Photograph],
) -> list[Row]:
    """A row for each variant.

    Args:
        chosen: the variants.
        settings: of the pipeline, for all of them.
        val: photographs in which everything is labelled.
        novel: photographs in which some things are.
    """
    given = {
        v: configs.load(PipelineConfig, v.preset, [*RANKED, *settings, *v.settings]).detector
        for v in chosen
    }
    runtimes = {computed(config): open_runtime(config) for config in given.values()}
    on_val, on_novel = (collect(given, runtimes, photographs) for photographs in (val, novel))
    dense_ms = time_dense(given, runtimes)
    rows = []
    for variant, config in given.items():
        table = average_recall(val, on_val[variant], "segm")
        kept, kept_novel = at_working_point(len(val), on_val[variant], on_novel[variant])
        rows.append(
            Row(
                name=variant.name,
                ar10=table["AR@10"],
                ar100=table["AR@100"],
                small=table.get("AR@100 small", np.nan),
                medium=table.get("AR@100 medium", np.nan),
                large=table.get("AR@100 large", np.nan),
                val=average_recall(val, kept, "segm")["at IoU .5"],
                novel=average_recall(novel, kept_novel, "segm", recall_only=True)["at IoU .5"],
                novel_results=len(kept_novel) / len(novel),
                dense_ms=sum(dense_ms[computed(config), one.size_px] for one in config.looks),
            )
        )
    return rows


def computed(config: DeployConfig) -> Computed:
    """What computes for a variant."""
    return Computed(config.weights, config.precision)


def collect(
    given: Mapping[Variant, DeployConfig],
    runtimes: Mapping[Computed, Runtime],
    photographs: Sequence[Photograph],
) -> dict[Variant, list[Result]]:
    """Results of each variant; the network looks at a photograph once in each way."""
    results: dict[Variant, list[Result]] = {variant: [] for variant in given}
    for photograph in photographs:
        image = photograph.image()
        seen: dict[tuple[Computed, Look], Windows] = {}
        for variant, config in given.items():
            looks = [(computed(config), one) for one in config.looks]
            for network, one in looks:
                if (network, one) not in seen:
                    seen[network, one] = look(runtimes[network], image, one, config)
            windows = variant.score(merge([seen[key] for key in looks]))
            results[variant] += results_of(photograph, propose(windows, image, config.proposals))
    return results


def at_working_point(
    pictures: int, on_val: list[Result], on_novel: list[Result]
) -> tuple[list[Result], list[Result]]:
    """Those of the results that score as well as the best ten a picture of `val`."""
    scores = sorted((row["score"] for row in on_val), reverse=True)
    least = min(scores[: RESULTS * pictures], default=0.0)
    kept, kept_novel = ([r for r in rows if r["score"] >= least] for rows in (on_val, on_novel))
    return kept, kept_novel


def time_dense(
    given: Mapping[Variant, DeployConfig], runtimes: Mapping[Computed, Runtime], rounds: int = 9
) -> dict[tuple[Computed, int], float]:
    """CPU milliseconds of the dense part of each network at each size, measured in turns."""
    picture = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3)).astype(np.uint8)

    def dense(network: Computed, size_px: int) -> None:
        runtimes[network](picture, input_size(PICTURE, size_px), NOTHING_SCORES, 1)

    keys = {(computed(config), size_px) for config in given.values() for size_px in config.sizes_px}
    for key in keys:
        dense(*key)  # compiles
    measures = {
        str(key): functools.partial(measuring.cpu_ms, functools.partial(dense, *key))
        for key in keys
    }
    found = measuring.in_turns(measures, rounds)
    return {key: measuring.median(found[str(key)]) for key in keys}


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    return as_table(("", *COLUMNS), [(row.name, *cells(row)) for row in rows])


def as_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    every = (head, ["---"] * len(head), *lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in every)


def cells(row: Row) -> list[str]:
    """A row's figures, as in `COLUMNS`."""
    return [
        _share(row.ar10),
        _share(row.ar100),
        " / ".join(_share(value) for value in (row.small, row.medium, row.large)),
        _share(row.val),
        f"{_share(row.novel)} ({row.novel_results:.1f})",
        f"{row.dense_ms:.0f}",
    ]


def _share(value: float) -> str:
    """.123"""
    return f"{value:.3f}".removeprefix("0")


def arguments(name: str, doc: str | None) -> Any:
    """A command line with the photographs to measure on."""
    parser = measuring.arguments(name, doc)
    parser.add_argument("--data", type=Path, required=True, help="folder of val and val-novel")
    parser.add_argument("--limit", type=int, help="only the first so many photographs of each")
    return parser


def main() -> None:
    """Measure and print."""
    options = arguments("network_ablation", __doc__).parse_args()
    about = measuring.announce()
    val, novel = (load_set(options.data, name)[: options.limit] for name in ("val", "val-novel"))
    weights = configs.load(PipelineConfig, None, options.set).detector.weights
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(variants(weights, Path(folder)), options.set, val, novel)
    print(f"{len(val)} and {len(novel)} photographs; weights {weights}")
    print(markdown(rows))
    measuring.save(options.json, about | {"rows": [row._asdict() for row in rows]})


if __name__ == "__main__":
    measuring.start(main)
