"""Train a DeepMask: `python -m deepmask.training.train --config NAME|FILE --data DIR --output DIR`.

DIR of `--data` holds COCO-format sets (`train-human.json` with `train-human-00.tar` ...; see
docs/training.md). The output holds `weights.safetensors` (the averaged weights, as shipped),
`resume.pt`, `config.yaml`, `log.jsonl` and its picture `log.png`.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import configs
from deepmask.deploy import find_proposals
from deepmask.evaluate import EVALUATION, average_recall, results_of
from deepmask.network import DeepMask
from deepmask.reliability import pyplot
from deepmask.torch_runtime import TorchRuntime
from deepmask.training.coco import Photograph, load_set
from deepmask.training.config import TrainConfig
from deepmask.training.measured import measure
from deepmask.training.plans import load_sets
from deepmask.training.trainer import Trainer

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
VALIDATED = ("mask AR@10", "mask AR@100", "box AR@100")


def train(config: TrainConfig, data: Path, output: Path, resume: bool) -> None:
    """Run or go on with one training.

    Raises:
        FileNotFoundError: a set of photographs, or what should be resumed, is not there.
        FileExistsError: a training that should not be resumed is.
    """
    if not resume and (output / "resume.pt").exists():
        raise FileExistsError(
            f"{output} holds a training: go on with it with --resume, or give another --output"
        )
    output.mkdir(parents=True, exist_ok=True)
    validation = load_set(data, "val")[: config.validation_images]
    trainer = Trainer(config, output, lambda network: validate(network, validation))
    if resume:
        trainer.resume()
    (output / "config.yaml").write_text(configs.dump(config), encoding="utf-8")
    sets = load_sets(data, config.data)
    trainer.fit(sets)
    measure(trainer.average, sets)
    trainer.save_weights()
    plot(output / "log.jsonl", output / "log.png")


def keep_memory() -> None:
    """Let the C library keep what a step frees for the next one, where it is glibc.

    It would give large blocks back to the system and get them again page by page, each cleared.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 1 << 28)):
            mallopt(parameter, value)


def validate(network: DeepMask, photographs: Sequence[Photograph]) -> dict[str, float]:
    """Average recall of masks and boxes at 640 px on a fixed part of the validation set.

    Nothing where no photograph of that is labelled in full.
    """
    runtime = TorchRuntime(copy.deepcopy(network), next(network.parameters()).device)
    config = dataclasses.replace(EVALUATION, sizes_px=(640,), mirrored=False, decoded=200)
    results = [
        row
        for photograph in photographs
        for row in results_of(photograph, find_proposals(runtime, photograph.image(), config))
    ]
    masks = average_recall(photographs, results, "segm")
    boxes = average_recall(photographs, results, "bbox")
    found = {f"mask {name}": value for name, value in masks.items()}
    found |= {f"box {name}": value for name, value in boxes.items()}
    return {name: round(found[name], 4) for name in VALIDATED if name in found}


def plot(log_file: Path, picture: Path) -> None:
    """Draw the losses and the average recall of a training's `log.jsonl`."""
    plt = pyplot()
    rows = [json.loads(line) for line in log_file.read_text(encoding="utf-8").splitlines()]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for key in ("score", "bce", "dice", "quality", "iou"):
        known = [row for row in rows if key in row]
        left.plot([r["progress"] for r in known], [r[key] for r in known], label=key, linewidth=1)
    for key in VALIDATED:
        known = [row for row in rows if key in row]
        right.plot([r["progress"] for r in known], [r[key] for r in known], "o-", label=key)
    for axis, name in ((left, "training: losses, mask IoU"), (right, "validation part")):
        axis.set(xlabel="share of the training", title=name)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    recipes = ", ".join(configs.presets(TrainConfig))
    parser = argparse.ArgumentParser("python -m deepmask.training.train", description=__doc__)
    parser.add_argument("--config", help=f"a preset ({recipes}) or a YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data", required=True, type=Path, help="folder of the sets")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--resume", action="store_true", help="go on from OUTPUT/resume.pt")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.backends.cudnn.benchmark = True
    keep_memory()
    try:
        config = configs.load(TrainConfig, options.config, options.set)
        train(config, options.data, options.output, options.resume)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        # Of a process that makes samples the message is a traceback; the error is its last line.
        print(f"deepmask.training.train: {str(error).splitlines()[-1]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
