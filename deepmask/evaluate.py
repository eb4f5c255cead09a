"""How good the proposals are: `python -m deepmask.evaluate --annotations FILE --images DIR|TAR`.

Average recall over IoU .50:.05:.95 with the best 10, 100 and 1000 proposals of each image
(Hosang et al. 2015; COCOeval with useCats=0), for masks and boxes, and by size of the object.
With `--deployed` it runs what `pipeline.run` runs by default, threshold included: what the tracker
is given. `--reliability` shows whether the scores mean what they say.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import configs
from deepmask import reliability
from deepmask.checkpoint import CheckpointError
from deepmask.deploy import DeployConfig, find_proposals, find_windows, open_runtime
from deepmask.proposals import Proposals, rank
from deepmask.runtime import Runtime
from deepmask.training.coco import Photograph, load_photographs

COUNTS = (10, 100, 1000)
RANKED = (
    "sizes_px=384, 512, 640, 1088",
    "mirrored=true",
    "precision=bf16",
    "decoded=1000",
    "proposals.min_score=0",
    "proposals.max_count=1000",
    "proposals.max_iou=0.8",
    "proposals.max_inside=1",
    "proposals.vote_iou=0.7",
)
"""For average recall: what the preset `accurate` looks at, ranked, without threshold."""
DISTINCT = 100
"""After so many proposals all other windows follow: AR@1000 may see copies."""
EVALUATION = configs.load(DeployConfig, None, RANKED)

Result = dict[str, Any]


def results_of(photograph: Photograph, proposals: Proposals) -> list[Result]:
    """Proposals as COCO results with compressed RLE masks."""
    rows = []
    size = (photograph.height, photograph.width)
    for i, (x, y) in enumerate(proposals.offsets):
        full = np.zeros(size, np.uint8, order="F")
        crop = proposals.crops[i]
        full[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        rle = coco_mask.encode(full)
        x1, y1, x2, y2 = (float(v) for v in proposals.boxes[i])
        rows.append(
            {
                "image_id": photograph.id,
                "category_id": 1,
                "score": round(float(proposals.scores[i]), 5),
                "predicted_iou": round(float(proposals.quality[i]), 5),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": {"size": list(size), "counts": rle["counts"].decode("ascii")},
            }
        )
    return rows


def average_recall(
    photographs: Sequence[Photograph],
    results: list[Result],
    kind: str,
    *,
    recall_only: bool = False,
) -> dict[str, float]:
    """AR at 10, 100 and 1000, at 100 by size, and the recall at IoU .5 alone with 1000.

    Args:
        photographs: the truth. Crowds are left out.
        results: of the photographs, in COCO's form.
        kind: "segm" or "bbox".
        recall_only: count images in which not every object is labelled, too.

    Returns:
        Name -> recall; no entry for sizes of which there is no object.
    """
    truth = _truth([p for p in photographs if p.exhaustive or recall_only])
    if not truth.dataset["annotations"]:
        return {}
    known = set(truth.getImgIds())
    rows = [
        {"area": float(coco_mask.area(r["segmentation"])), **r, "id": i + 1, "iscrowd": 0}
        for i, r in enumerate(r for r in results if r["image_id"] in known)
    ]
    found = COCO()
    found.dataset = {**truth.dataset, "annotations": rows}
    with contextlib.redirect_stdout(io.StringIO()):
        found.createIndex()
        coco = COCOeval(truth, found, kind)
        coco.params.useCats = 0
        coco.params.maxDets = list(COUNTS)
        coco.evaluate()
        coco.accumulate()
    recall = coco.eval["recall"]  # (IoUs, 1, sizes, counts)
    table = {f"AR@{k}": recall[:, 0, 0, i] for i, k in enumerate(COUNTS)}
    for j, name in enumerate(("small", "medium", "large"), 1):
        table[f"AR@100 {name}"] = recall[:, 0, j, 1]
    table["at IoU .5"] = recall[:1, 0, 0, 2]
    return {name: float(values.mean()) for name, values in table.items() if values[0] >= 0}


def _truth(photographs: Sequence[Photograph]) -> COCO:
    images: list[Result] = []
    annotations: list[Result] = []
    for photograph in photographs:
        images.append({"id": photograph.id, "height": photograph.height, "width": photograph.width})
        for annotation in photograph.annotations:
            area = annotation.get("orig_area", annotation["area"])
            row = {**annotation, "category_id": 1, "area": area, "id": len(annotations) + 1}
            annotations.append(row)
    coco = COCO()
    categories = [{"id": 1, "name": "object"}]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        return _evaluate(options)
    except (CheckpointError, OSError, ModuleNotFoundError, ValueError) as error:
        print(f"deepmask.evaluate: {error}", file=sys.stderr)
        return 2


def _evaluate(options: argparse.Namespace) -> int:
    if options.reliability:
        reliability.pyplot()  # says at once that it is missing, not after all photographs
    if options.results:
        Path(options.results).touch()
    photographs = load_photographs(Path(options.annotations), [Path(p) for p in options.images])
    photographs = photographs[: options.limit]
    if not photographs:
        raise ValueError(
            f"there are no photographs to look at: {options.annotations} names none, or --limit is "
            f"{options.limit}; give a set with pictures and a limit of 1 or more"
        )
    base, find = ((), find_proposals) if options.deployed else (RANKED, _find_ranked)
    config = configs.load(DeployConfig, None, [*base, *options.set])
    runtime = open_runtime(config)
    print(f"{runtime.description}; {config}", file=sys.stderr)
    results: list[Result] = []
    for i, photograph in enumerate(photographs, 1):
        found = find(runtime, photograph.image(), config)
        results += results_of(photograph, found)
        if sys.stderr.isatty():
            print(f"\r{i}/{len(photographs)}", end="", file=sys.stderr)
    if options.results:
        Path(options.results).write_text(json.dumps(results), encoding="utf-8")
    print(f"images {len(photographs)}, results an image {len(results) / len(photographs):.2f}")
    for kind, name in (("segm", "mask"), ("bbox", "box")):
        table = average_recall(photographs, results, kind, recall_only=options.recall_only)
        print(name.ljust(5) + "  ".join(f"{key} {value:.3f}" for key, value in table.items()))
    if options.reliability:
        measured = reliability.measure(photographs, results)
        print(reliability.table(measured))
        reliability.plot(measured, Path(options.reliability))
    return 0


def _find_ranked(runtime: Runtime, image: NDArray[np.uint8], config: DeployConfig) -> Proposals:
    windows = find_windows(runtime, image, config)
    return rank(windows, image, config.proposals, DISTINCT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m deepmask.evaluate", description=__doc__)
    parser.add_argument("--annotations", required=True, help="COCO instances JSON")
    parser.add_argument("--images", required=True, nargs="+", help="folder or tar of the pictures")
    parser.add_argument("--results", help="write COCO results here")
    parser.add_argument("--deployed", action="store_true", help="exactly what pipeline.run runs")
    parser.add_argument(
        "--recall-only",
        action="store_true",
        help="count images in which not everything is labelled, too",
    )
    parser.add_argument("--reliability", metavar="FILE.png", help="plot predicted against real IoU")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the network as deployed, such as sizes_px=384",
    )
    for name, what in (
        ("weights", "name of shipped weights, or a .safetensors file"),
        ("device", "auto, cpu, cuda or cuda:N"),
    ):
        form = (name + "={}").format
        parser.add_argument(f"--{name}", dest="set", action="append", type=form, help=what)
    parser.add_argument("--limit", type=int, help="only the first so many images")
    return parser


if __name__ == "__main__":
    sys.exit(main())
