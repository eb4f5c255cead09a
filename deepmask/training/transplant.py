"""Begin with another trunk: `python -m deepmask.training.transplant --trunk lite2 --data DIR ...`.

Pyramid and heads come from trained weights, the trunk from ImageNet. Between them lie 1x1
convolutions, one for each of the trunk's maps; they are fitted by least squares, so that the new
trunk's maps give what the old one's gave. What comes out finds most things already, and learns the
rest in a fraction of the time that heads without training take.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from deepmask import checkpoint
from deepmask.config import TrunkName
from deepmask.network import DeepMask, normalized
from deepmask.training.config import DataConfig
from deepmask.training.plans import load_sets
from deepmask.training.pretrained import load_imagenet
from deepmask.training.samples import shrunk

PHOTOGRAPHS = 200
"""Pictures that the convolutions are fitted to."""

RIDGE = 1e-3
"""What is added to the inputs' variances, in shares of their mean."""


@torch.no_grad()
def transplant(donor: DeepMask, network: DeepMask, pictures: Iterable[Tensor]) -> list[float]:
    """Give `network` everything but the trunk from `donor`.

    Args:
        donor: trained weights, of the same config but for the trunk.
        network: another trunk, already filled; the rest is overwritten.
        pictures: `(1, 3, H, W)` RGB in 0..255, sides multiples of 32.

    Returns:
        Share of the variance of the donor's maps that the fit explains (R²), finest map first.
    """
    given, state = donor.state_dict(), network.state_dict()
    for name in state:
        if not name.startswith("trunk.") and state[name].shape == given[name].shape:
            state[name].copy_(given[name])
    old, new = _laterals(donor), _laterals(network)
    sums = [_Sums(a.in_channels, b.out_channels) for a, b in zip(new, old, strict=True)]
    for picture in pictures:
        x = normalized(picture)
        for total, lateral, theirs, ours in zip(
            sums, old, donor.trunk(x), network.trunk(x), strict=True
        ):
            total.add(_pixels(ours), _pixels(lateral(theirs)))
    return [total.fit(lateral) for total, lateral in zip(sums, new, strict=True)]


def _laterals(network: DeepMask) -> list[nn.Conv2d]:
    """What reads the trunk's maps, finest first."""
    found = [network.detail_lateral, *network.pyramid.lateral]
    assert all(isinstance(one, nn.Conv2d) for one in found)
    return found


def _pixels(maps: Tensor) -> Tensor:
    """`(1, C, H, W)` as `(H W, C)` float64."""
    return maps[0].flatten(1).T.double()


class _Sums:
    """The moments of inputs `(K, C)` and of the outputs `(K, D)` that they should give."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.split, both = inputs, inputs + outputs
        self.sums = torch.zeros(both, dtype=torch.float64)
        self.products = torch.zeros(both, both, dtype=torch.float64)
        self.count = 0

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        rows = torch.cat([inputs, outputs], 1)
        self.sums += rows.sum(0)
        self.products += rows.T @ rows
        self.count += len(rows)

    def fit(self, lateral: nn.Conv2d) -> float:
        """Fill `lateral` by ridge regression; returns R² over all outputs."""
        assert lateral.bias is not None
        means = self.sums / self.count
        spread = self.products / self.count - torch.outer(means, means)
        inner, cross = spread[: self.split, : self.split], spread[: self.split, self.split :]
        ridge = RIDGE * inner.diagonal().mean() * torch.eye(self.split, dtype=torch.float64)
        found = torch.linalg.solve(inner + ridge, cross)
        lateral.weight.copy_(found.T[:, :, None, None])
        lateral.bias.copy_(means[self.split :] - means[: self.split] @ found)
        explained = (2 * found * cross).sum() - (found * (inner @ found)).sum()
        return float(explained / spread.diagonal()[self.split :].sum())


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m deepmask.training.transplant", description=__doc__)
    parser.add_argument("--initial", default="deepmask-lite0", help="a shipped name or a file")
    parser.add_argument("--trunk", required=True, choices=get_args(TrunkName))
    parser.add_argument("--data", required=True, type=Path, help="folder of the sets")
    parser.add_argument("--output", required=True, type=Path, help="a .safetensors file")
    options = parser.parse_args(argv)
    try:
        donor = checkpoint.load(checkpoint.find_weights(options.initial))
        network = DeepMask(dataclasses.replace(donor.config, trunk=options.trunk)).eval()
        load_imagenet(network.trunk, options.trunk)
        sets = load_sets(options.data, DataConfig())
        every = [photograph for photographs in sets.values() for photograph in photographs]
        some = every[:: max(1, len(every) // PHOTOGRAPHS)]
        shares = transplant(donor, network, map(shrunk, some))
        checkpoint.save(options.output, network, {"transplant": options.initial})
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"deepmask.training.transplant: {error}", file=sys.stderr)
        return 2
    strides = ", ".join(f"{share:.2f} at stride {4 << i}" for i, share in enumerate(shares))
    print(f"{options.output}: of what the maps gave there is left (R²) {strides}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
