"""What a training step costs on this CPU, and what makes it fast.

    python -m benchmarks.training_step [--size 384] [--batch 12] [--steps 12] [--json FILE]

The network learns random pictures, made once: the samples themselves cost extra. In turns, each in
a process of its own: as it is; with depthwise convolutions by torch, as where there is no C
compiler; and with a C library besides that gives back what a step frees.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
from pathlib import Path

import deepmask.training  # noqa: F401  before torch: it says how its threads wait

# isort: split
import torch

from benchmarks import measuring
from deepmask.geometry import cell_windows
from deepmask.training import depthwise
from deepmask.training.config import DataConfig, StageConfig, TrainConfig
from deepmask.training.train import keep_memory
from deepmask.training.trainer import Trainer

WAYS = ("as it is", "without a C compiler", "nor memory kept")
WARM_STEPS = 3


def batch(config: TrainConfig, stage: StageConfig) -> dict[str, torch.Tensor]:
    """Noise, and what to learn of it, in the shapes of real samples."""
    count, windows = stage.batch, config.data.positives
    cells = len(cell_windows((stage.size_px, stage.size_px), config.network))
    side = config.network.mask
    torch.manual_seed(0)
    return {
        "image": torch.randint(0, 256, (count, 3, stage.size_px, stage.size_px)).byte(),
        "objectness": (torch.rand(count, cells) < 0.01).float(),
        "weights": torch.ones(count, cells),
        "cells": torch.randint(0, cells, (count, windows)),
        "valid": torch.ones(count, windows, dtype=torch.bool),
        "masks": torch.randint(0, 256, (count, windows, side, side)).byte(),
    }


def seconds(way: str, size_px: int, images: int, steps: int) -> tuple[float, float]:
    """Wall and CPU time of one image in a step, in this process."""
    if way != WAYS[2]:
        keep_memory()
    if way != WAYS[0]:
        depthwise.COMPILERS = ()
    stage = StageConfig(size_px=size_px, batch=images)
    config = TrainConfig(
        initial="deepmask-lite0",
        frozen_stages=2,
        device="cpu",
        data=DataConfig(positives=16),
        stages=(stage,),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder))
        sample = batch(config, stage)
        for _ in range(WARM_STEPS):
            trainer.step(sample)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            trainer.step(sample)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / steps / images, cpu / steps / images


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("training_step", __doc__)
    parser.add_argument("--size", type=int, default=384, help="side of the pictures, px")
    parser.add_argument("--batch", type=int, default=12, help="pictures a step")
    parser.add_argument("--steps", type=int, default=12, help="steps a measurement")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help="measure this once, here")
    options = parser.parse_args()
    shape = (options.size, options.batch, options.steps)
    if options.only:
        print(json.dumps(seconds(options.only, *shape)))
        return

    def apart(way: str) -> tuple[float, float]:
        names = ("--size", "--batch", "--steps")
        flags = [word for pair in zip(names, map(str, shape), strict=True) for word in pair]
        program = [sys.executable, "-m", "benchmarks.training_step", "--only", way, *flags]
        wall, cpu = json.loads(measuring.run_command(program).splitlines()[-1])
        return wall, cpu

    about = measuring.announce()
    ways = {way: functools.partial(apart, way) for way in WAYS}
    rows = {}
    for way, found in measuring.in_turns(ways, options.repeat).items():
        wall, cpu = (1e3 * measuring.median(values) for values in zip(*found, strict=True))
        rows[way] = {"wall_ms": wall, "cpu_ms": cpu}
        print(f"{way:22s} {wall:6.1f} ms an image, {cpu:6.1f} CPU-ms")
    measuring.save(options.json, about | {"rows": rows})


if __name__ == "__main__":
    measuring.start(main)
