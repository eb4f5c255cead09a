"""The mean of two trainings: `python -m deepmask.training.average FIRST SECOND --data DIR ...`.

Where the second went on from the first, their mean is often better than either (model soup;
Wortsman et al., ICML 2022).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from deepmask import checkpoint
from deepmask.network import DeepMask
from deepmask.training.config import DataConfig
from deepmask.training.measured import measure, norms_of, restate
from deepmask.training.plans import load_sets


@torch.no_grad()
def mix(first: DeepMask, second: DeepMask, share: float) -> None:
    """Move `first` towards `second`.

    Args:
        first: becomes the mean.
        second: of the same config; its norms are restated, what it computes stays the same.
        share: of the second in the mean, in [0, 1].

    Raises:
        ValueError: their configs differ.
    """
    if first.config != second.config:
        raise ValueError(f"networks of two kinds have no mean: {first.config}, {second.config}")
    # A norm's factors mean something beside its statistics only, which must be the same. Those of
    # pyramid and heads learnt theirs in the same training, and are averaged as they are.
    for mine, theirs in zip(norms_of(first), norms_of(second), strict=True):
        assert mine.running_mean is not None
        assert mine.running_var is not None
        restate(theirs, mine.running_mean, mine.running_var)
    state, other = first.state_dict(), second.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            value.lerp_(other[name], share)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m deepmask.training.average", description=__doc__)
    for name in ("first", "second"):
        parser.add_argument(name, help="shipped weights by name, or a file")
    parser.add_argument("--share", type=float, default=0.5, help="of the second, in [0, 1]")
    parser.add_argument("--data", required=True, type=Path, help="folder of the sets")
    parser.add_argument("--output", required=True, type=Path, help="a .safetensors file")
    options = parser.parse_args(argv)
    try:
        if not 0.0 <= options.share <= 1.0:
            raise ValueError(f"--share should lie in [0, 1], got {options.share}")
        first, second = (
            checkpoint.load(checkpoint.find_weights(name))
            for name in (options.first, options.second)
        )
        mix(first, second, options.share)
        measure(first, load_sets(options.data, DataConfig()))
        notes = {"mean": f"{options.first}, {options.second}, share {options.share}"}
        checkpoint.save(options.output, first, notes)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"deepmask.training.average: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
