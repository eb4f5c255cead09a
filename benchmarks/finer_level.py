"""What it costs to see small things: finer pyramid levels, or a larger input.

    python -m benchmarks.finer_level [--json FILE]

CPU milliseconds of the dense part (trunk, pyramid, objectness), with random weights, of a picture
of 640x480: the network as it is at 512 px, with one more level at a stride of 5.7 px, with two
more at 4 and 5.7 px; and as it is at the larger inputs that see things as small. The finest cells
are made for things of the long side that the table gives, in pixels of the picture.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks import measuring
from deepmask import export
from deepmask.config import DeepMaskConfig
from deepmask.geometry import input_size
from deepmask.network import DeepMask, Dense, Pyramid

PICTURE = (480, 640)
SIZE_PX = 512
STRIDE_PX = 8.0
"""Of the finest level as it is."""
ROUNDS = 15


class FinerDeepMask(DeepMask):
    """DeepMask with a pyramid that begins one or two half octaves below stride 8."""

    def __init__(self, more: int) -> None:
        super().__init__(DeepMaskConfig(levels=DeepMaskConfig().levels + more))
        self.more = more
        self.pyramid = Pyramid(self.trunk.channels, self.config.channels)

    def dense_of(self, pixels: Tensor) -> Dense:
        """As in `DeepMask`, but that the pyramid gets the trunk's stride-4 map too."""
        trunk = self.trunk(pixels)
        maps = self.pyramid(trunk, self.config.levels + 2 - self.more)[2 - self.more :]
        return self.heads(trunk[0], maps, stride_8=self.more)


def inference(network: DeepMask, size_px: int, folder: Path) -> Callable[[], Any]:
    """The dense part, compiled for the CPU: one call is one picture."""
    import openvino  # after deepmask, which keeps it from reporting this

    path = folder / f"{size_px}-{network.config.levels}.xml"
    export.dense(network.eval().requires_grad_(False), path)
    core = openvino.Core()
    model = core.read_model(path)
    size = input_size(PICTURE, size_px)
    model.reshape([1, *size, 3])
    bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = {"INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32"}
    request = core.compile_model(model, "CPU", precision).create_infer_request()
    picture = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype(np.uint8)
    return functools.partial(request.infer, {0: picture})


def main() -> None:
    """Measure and print."""
    options = measuring.arguments("finer_level", __doc__).parse_args()
    about = measuring.announce()
    now = DeepMask()
    finest_px = now.config.canonical * STRIDE_PX * PICTURE[1] / SIZE_PX
    calls, smallest = {}, {}
    with tempfile.TemporaryDirectory() as name:
        calls["as it is"] = inference(now, SIZE_PX, Path(name))
        smallest["as it is"] = finest_px
        for more in (1, 2):
            finer = 2 ** (more / 2)
            levels, larger = f"finer levels: {more}", f"input of {SIZE_PX * finer:.0f} px"
            calls[levels] = inference(FinerDeepMask(more), SIZE_PX, Path(name))
            calls[larger] = inference(now, round(SIZE_PX * finer), Path(name))
            smallest[levels] = smallest[larger] = finest_px / finer
    found = measuring.in_turns(
        {k: functools.partial(measuring.cpu_ms, c) for k, c in calls.items()}, ROUNDS
    )
    rows = {
        what: {"dense_ms": measuring.median(found[what]), "smallest_px": smallest[what]}
        for what in calls
    }
    print("| | dense, CPU-ms | made for things from |\n| --- | --- | --- |")
    for what, row in rows.items():
        print(f"| {what} | {row['dense_ms']:.0f} | {row['smallest_px']:.0f} px |")
    measuring.save(options.json, about | {"rows": rows})


if __name__ == "__main__":
    measuring.start(main)
