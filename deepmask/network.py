"""The whole network in one file: trunk, pyramid, score tower, window encoder, mask decoder.

DeepMask (Pinheiro et al., NIPS 2015) slides a window over an image pyramid and gives, at each
place, the mask of the one object centred in the window and its objectness. Here a feature pyramid
stands in for the image pyramid, the objectness is dense and cheap, and windows are encoded and
masks decoded only where it peaks. At such a place the result is that of the dense evaluation.

    image ─▶ trunk ─▶ pyramid ─▶ tower ─▶ objectness at every cell of every level
                         └───+─────┘
                             ├─▶ 9x9 window ─▶ vector e ─▶ low-rank 28x28 mask ─┐
                             └─▶ stride-4 detail ──────── dynamic convolution ──┴─▶ 56x56 logits
                                                   e ─▶ predicted IoU of that mask
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.config import DeepMaskConfig
from deepmask.geometry import DETAIL_STRIDE, cell_indices, cell_windows

# EfficientNet-B0 (Tan and Le 2019, table 1): expansion, channels, repeats, stride, kernel.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
TAPS = (1, 2, 4, 6)
"""Stages whose maps the trunk hands on: strides 4, 8, 16, 32."""
WIDTH_DEPTH = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
STEM = 32
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""What the ImageNet weights were trained with: (pixel - 127) / 128."""

DYNAMIC_WIDTH = 8


class Dense(NamedTuple):
    """What the network says of a whole picture, of N cells over all levels."""

    scores: list[Tensor]
    """Objectness logits `(B, 1, h, w)` of each level, finest first."""
    features: Tensor
    """`(B, N + 1, C)`: the cells of all levels, and a row of zeros for what is outside."""
    detail: Tensor
    """`(B, D, H/4, W/4)`"""

    @property
    def objectness(self) -> Tensor:
        """`(B, N)` logits of all cells, levels finest first, each row by row."""
        return torch.cat([x.flatten(1) for x in self.scores], 1)


class Decoded(NamedTuple):
    """K masks a picture, one for each chosen cell."""

    masks: Tensor
    """`(B, K, 56, 56)` logits over the cell's window."""
    quality: Tensor
    """`(B, K)` logits of the predicted IoU of the mask with its object."""
    appearance: Tensor
    """`(B, K, C)` unit vectors: features under the mask, less what objects have in common."""


class Depthwise(nn.Conv2d):
    """A convolution of each channel by itself, "same" padding."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False
        )


class InvertedResidual(nn.Module):
    """Expand, depthwise, project (Sandler et al. 2018), ReLU6, without squeeze-excite."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [
                nn.Conv2d(inputs, hidden, 1, bias=False),
                _trunk_norm(hidden),
                nn.ReLU6(inplace=True),
            ]
        layers += [
            Depthwise(hidden, kernel, stride),
            _trunk_norm(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            _trunk_norm(outputs),
        ]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class Trunk(nn.Module):
    """EfficientNet-Lite up to its last block: `(B, 3, H, W)` -> maps at strides 4, 8, 16, 32."""

    def __init__(self, name: str) -> None:
        super().__init__()
        width, depth = WIDTH_DEPTH[name]
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM, 3, 2, 1, bias=False), _trunk_norm(STEM), nn.ReLU6(inplace=True)
        )
        stages = []
        inputs = STEM
        for i, (expansion, base, repeats, stride, kernel) in enumerate(STAGES):
            outputs = _round_channels(base * width)
            scaled = i not in (0, len(STAGES) - 1)
            count = -int(-repeats * depth // 1) if scaled else repeats
            blocks = []
            for j in range(count):
                blocks.append(
                    InvertedResidual(inputs, outputs, expansion, kernel, stride if j == 0 else 1)
                )
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(_round_channels(STAGES[i][1] * width) for i in TAPS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in TAPS:
                maps.append(x)
        return tuple(maps)


class Pyramid(nn.Module):
    """Feature pyramid (Lin et al. 2017), smoothed depthwise-separably, with half octaves."""

    def __init__(self, inputs: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in inputs)
        self.smooth = nn.ModuleList(_separable(channels, channels, 3) for _ in inputs)
        self.coarser = _separable(channels, channels, 3, stride=2)

    def forward(self, maps: tuple[Tensor, ...], levels: int) -> list[Tensor]:
        merged = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(merged) - 1, 0, -1):
            merged[i - 1] = merged[i - 1] + F.interpolate(merged[i], scale_factor=2.0)
        octaves = [smooth(x) for smooth, x in zip(self.smooth, merged, strict=True)]
        while 2 * len(octaves) < levels:
            octaves.append(self.coarser(octaves[-1]))
        return [
            octaves[k // 2] if k % 2 == 0 else half_octave(octaves[k // 2]) for k in range(levels)
        ]


def half_octave(x: Tensor) -> Tensor:
    """A map `(B, C, n, m)` at 1 / sqrt 2: `(n + 1) / sqrt 2` rounded down, and so for m.

    The border is repeated once, so that the last cells reach to the picture's end.
    """
    x = F.pad(x, (0, 1, 0, 1), mode="replicate")
    return F.interpolate(x, scale_factor=math.sqrt(0.5), mode="bilinear", align_corners=False)


class ScoreTower(nn.Module):
    """Objectness of every cell: the same convolutions on each level, normalised a level apart.

    Its last features also tell the masks' half what lies in the 13 x 13 cells around each.
    """

    def __init__(self, channels: int, layers: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(
                Depthwise(channels, 5),
                nn.Conv2d(channels, channels, 1, bias=False),
            )
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels, momentum=0.05) for _ in range(layers))
            for _ in range(levels)
        )
        self.score = nn.Conv2d(channels, 1, 1)
        self.context = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.zeros_(self.context.weight)
        nn.init.normal_(self.score.weight, std=0.01)
        assert self.score.bias is not None
        nn.init.constant_(self.score.bias, -4.6)  # focal loss's prior of 0.01 (Lin et al. 2017)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps `(B, C, h, w)` of each level -> logits `(B, 1, h, w)`, and the maps with context."""
        scores, seen = [], []
        for norms, x in zip(self.norms, maps, strict=True):
            y = x
            for conv, norm in zip(self.convs, norms, strict=True):  # type: ignore[call-overload]
                y = F.relu(norm(conv(y)))
            scores.append(self.score(y))
            seen.append(x + self.context(y))
        return scores, seen


class Enlarge(nn.Module):
    """Flat maps `(n, side ** 2)` at twice the side, bilinear: `(n, 4 * side ** 2)`."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 1, self.side, self.side)
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return x.flatten(1)


class MaskHead(nn.Module):
    """Window -> vector -> mask and its predicted IoU.

    The coarse mask is DeepMask's own, the product of a vector and a matrix, but that the vector
    gets a hidden layer's correction. A small convolution whose weights the vector gives (CondInst,
    Tian et al. 2020) then draws the outline from the stride-4 detail, the place in the window and
    the coarse mask. What of this there is, `config.refinement` says.
    """

    places: Tensor

    def __init__(self, config: DeepMaskConfig) -> None:
        super().__init__()
        self.config = config
        self.encode = nn.Linear(config.window**2 * config.channels, config.embedding)
        hidden = 2 * config.embedding
        self.correct = nn.Sequential(
            nn.Linear(config.embedding, hidden), nn.ReLU(), nn.Linear(hidden, config.embedding)
        )
        for parameter in self.correct[-1].parameters():
            nn.init.zeros_(parameter)
        self.coarse = nn.Linear(config.embedding, config.coarse**2)
        self.enlarge: nn.Module = Enlarge(config.coarse)
        if config.refinement != "none":
            seen = 3 + (config.detail if config.refinement == "detail" else 0)
            width = DYNAMIC_WIDTH
            self.shapes = ((width, seen), (width, width), (1, width))
            self.dynamic = nn.Linear(config.embedding, sum(o * i + o for o, i in self.shapes))
            nn.init.normal_(self.dynamic.weight, std=0.01)
            nn.init.normal_(self.dynamic.bias, std=0.3)
        self.quality = nn.Sequential(nn.Linear(config.embedding, 64), nn.ReLU(), nn.Linear(64, 1))
        steps = (torch.arange(config.mask) + 0.5) / config.mask * 2 - 1
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("places", torch.stack([x, y]).reshape(1, 2, -1), persistent=False)

    def forward(self, windows: Tensor, detail: Tensor) -> tuple[Tensor, Tensor]:
        """Windows `(n, 81 C)` and detail `(n, D, 56, 56)` -> logits `(n, 56, 56)`, `(n,)`."""
        e, quality = self.judge(windows)
        return self.draw(e, detail), quality

    def judge(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Windows `(n, 81 C)` -> vectors `(n, E)` and logits of their masks' IoU `(n,)`."""
        e = self.encode(windows)
        e = e + self.correct(e)
        return e, self.quality(e).squeeze(1)

    def draw(self, e: Tensor, detail: Tensor) -> Tensor:
        """Vectors `(n, E)` and detail `(n, D, 56, 56)` -> logits `(n, 56, 56)`."""
        logits: Tensor = self.enlarge(self.coarse(e)).unsqueeze(1)
        if self.config.refinement != "none":
            logits = logits + self._refine(e, logits, detail)
        return logits.view(-1, self.config.mask, self.config.mask)

    def _refine(self, e: Tensor, coarse: Tensor, detail: Tensor) -> Tensor:
        """The dynamic convolution: what to add to the coarse logits `(n, 1, 56 * 56)`."""
        seen = [self.places.to(e.dtype).expand(e.shape[0], -1, -1), coarse * 0.25]
        if self.config.refinement == "detail":
            seen = [detail.flatten(2), *seen]
        x = torch.cat(seen, 1)
        parameters, at = self.dynamic(e), 0
        for outputs, inputs in self.shapes:
            weight = parameters[:, at : at + outputs * inputs].view(-1, outputs, inputs)
            at += outputs * inputs
            bias = parameters[:, at : at + outputs].unsqueeze(2)
            at += outputs
            x = torch.bmm(weight, x) + bias
            if outputs > 1:
                x = F.relu(x)
        return x


class DeepMask(nn.Module):
    """The network. `dense` looks at a picture once; `decode` gives the masks of chosen cells."""

    appearance_mean: Tensor
    """`(C,)` mean appearance of all kinds of objects, measured after training."""

    def __init__(self, config: DeepMaskConfig | None = None) -> None:
        super().__init__()
        self.config = config or DeepMaskConfig()
        channels = self.config.channels
        self.trunk = Trunk(self.config.trunk)
        c2, *deeper = self.trunk.channels
        self.pyramid = Pyramid(tuple(deeper), channels)
        self.score_tower = ScoreTower(channels, self.config.score_layers, self.config.levels)
        self.detail_lateral = nn.Conv2d(c2, 32, 1)
        self.detail_top = nn.Conv2d(channels, 32, 1)
        self.detail = nn.Sequential(_separable(32, 32, 3), nn.Conv2d(32, self.config.detail, 1))
        self.mask_head = MaskHead(self.config)
        self.register_buffer("appearance_mean", torch.zeros(channels))

    def dense(self, images: Tensor) -> Dense:
        """Pictures `(B, 3, H, W)` RGB, 0 to 255, sides multiples of 32 px -> `Dense`."""
        return self.dense_of(normalized(images))

    def dense_of(self, pixels: Tensor) -> Dense:
        """`dense` of pictures that went through `normalized`."""
        c2, *deeper = self.trunk(pixels)
        return self.heads(c2, self.pyramid(tuple(deeper), self.config.levels))

    def heads(self, c2: Tensor, maps: list[Tensor], stride_8: int = 0) -> Dense:
        """What the heads say of the trunk's stride-4 map and of the pyramid's maps.

        Args:
            c2: `(B, C2, H/4, W/4)`.
            maps: `(B, C, h, w)` of each level, finest first.
            stride_8: which of them has stride 8.
        """
        scores, maps = self.score_tower(maps)
        top = F.interpolate(
            self.detail_top(maps[stride_8]), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        detail = self.detail(self.detail_lateral(c2) + top)
        cells = [x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps]
        outside = cells[0].new_zeros(c2.shape[0], 1, self.config.channels)
        return Dense(scores, torch.cat([*cells, outside], 1), detail)

    def decode(self, features: Tensor, detail: Tensor, indices: Tensor, windows: Tensor) -> Decoded:
        """The masks of K cells of each picture that `dense` has seen.

        Args:
            features: `(B, N + 1, C)` of `Dense`.
            detail: `(B, D, H/4, W/4)` of `Dense`.
            indices: `(B, K, 81)` int64, the cells' rows of `geometry.cell_indices`.
            windows: `(B, K, 4)` px, the cells' rows of `geometry.cell_windows`.
        """
        batch, count = indices.shape[:2]
        first = torch.arange(batch, device=indices.device) * features.shape[1]
        rows = (indices + first.view(-1, 1, 1)).flatten()
        cells = features.flatten(0, 1).index_select(0, rows).view(batch * count, -1)
        masks, quality = self.mask_head(cells, _sample(detail, windows, self.config.mask))
        decoded = masks, quality, self.appearance(cells.detach(), masks.detach())
        return Decoded(*(x.view(batch, count, *x.shape[1:]) for x in decoded))

    def appearance(self, cells: Tensor, masks: Tensor) -> Tensor:
        """Features `(n, 81 C)` averaged under masks `(n, 56, 56)` -> unit vectors `(n, C)`.

        What all objects have in common (`appearance_mean`) is taken off: it would make any two
        look alike.
        """
        side = self.config.window
        weights = F.adaptive_avg_pool2d(masks.sigmoid().unsqueeze(1), side).view(-1, 1, side * side)
        features = cells.view(-1, side * side, self.config.channels)
        # An empty mask gives zeros; the default of `eps` is 0 in float16.
        inside = F.normalize(torch.bmm(weights, features).squeeze(1), dim=1, eps=1e-4)
        return F.normalize(inside - self.appearance_mean.to(inside.dtype), dim=1, eps=1e-4)

    def forward(
        self,
        images: Tensor,
        cells: Tensor,
        empty: Tensor,
        tables: tuple[Tensor, Tensor],
        count: int,
    ) -> tuple[Tensor, Decoded, Tensor]:
        """A training step.

        Args:
            images: `(B, 3, H, W)` RGB, 0 to 255.
            cells: `(B, K)` where there are objects.
            empty: `(B, N)` bool, where there certainly is none.
            tables: `cell_tables` of the images' size.
            count: how many of the highest peaks in `empty` are decoded too, M.

        Returns:
            Objectness `(B, N)` everywhere; the masks of the K cells and of M mistaken for objects,
            `(B, K + M)`; and the objectness of these M in [0, 1], 0 where there are fewer.
        """
        dense = self.dense(images)
        mistaken = (peaks(dense.scores).detach() * empty).topk(count, 1)
        decoded = torch.cat([cells, mistaken.indices], 1)
        indices, windows = (table[decoded] for table in tables)
        return (
            dense.objectness,
            self.decode(dense.features, dense.detail, indices, windows),
            mistaken.values,
        )


class Peaks(nn.Module):
    """The dense half as the runtimes run it: pixels in, objectness at its local maxima out."""

    def __init__(self, network: DeepMask) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures `(B, H, W, 3)` uint8 RGB -> scores `(B, N)`, features, detail.

        Scores are probabilities; they are 0 where a cell of the 3x3 around has a higher one.
        """
        # Normalised before the channels move, which OpenVINO then does without a copy.
        pixels = normalized(images.to(dense_dtype(self.network))).permute(0, 3, 1, 2)
        dense = self.network.dense_of(pixels)
        return peaks(dense.scores), dense.features, dense.detail


def peaks(levels: list[Tensor]) -> Tensor:
    """Logits `(B, 1, h, w)` of each level -> probabilities `(B, N)`, 0 where a cell of the 3x3
    around has a higher one."""
    found = []
    for logits in levels:
        scores = logits.float().sigmoid()
        highest = F.max_pool2d(scores, 3, 1, 1)
        found.append((scores * (scores >= highest)).flatten(1))
    return torch.cat(found, 1)


def normalized(pixels: Tensor) -> Tensor:
    """Pixels, 0 to 255, as the trunk was trained with."""
    return (pixels - PIXEL_MEAN) / PIXEL_STD


def cell_tables(
    size: tuple[int, int], config: DeepMaskConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    """`geometry.cell_indices` and `geometry.cell_windows` of an input of `size` on a device."""
    indices, windows = cell_indices(size, config), cell_windows(size, config)
    return torch.from_numpy(indices).to(device), torch.from_numpy(windows).to(device)


def dense_dtype(network: nn.Module) -> torch.dtype:
    """The floating-point type of a network's weights."""
    return next(network.parameters()).dtype


def _sample(detail: Tensor, windows: Tensor, side: int) -> Tensor:
    """Bilinear samples of `detail` `(B, D, h, w)` on a grid over each of `windows` `(B, K, 4)` px.

    Returns:
        `(B * K, D, side, side)`; zero outside the picture.
    """
    batch, count = windows.shape[:2]
    height, width = detail.shape[2] * DETAIL_STRIDE, detail.shape[3] * DETAIL_STRIDE
    steps = (torch.arange(side, device=windows.device) + 0.5) / side
    x1, y1, x2, y2 = windows.unsqueeze(3).unbind(2)
    x = ((x1 + (x2 - x1) * steps) * (2 / width) - 1).unsqueeze(2).expand(-1, -1, side, -1)
    y = ((y1 + (y2 - y1) * steps) * (2 / height) - 1).unsqueeze(3).expand(-1, -1, -1, side)
    # In float32 also where the network is not: half precision would move places by pixels.
    grid = torch.stack([x, y], -1).reshape(batch, -1, side, 2)
    sampled = F.grid_sample(detail.float(), grid, mode="bilinear", align_corners=False)
    sampled = sampled.to(detail.dtype)
    return sampled.view(batch, -1, count, side, side).transpose(1, 2).flatten(0, 1)


def _separable(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        Depthwise(inputs, kernel, stride),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.05),
        nn.ReLU(),
    )


def _trunk_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _round_channels(channels: float, divisor: int = 8) -> int:
    """EfficientNet's rounding: to a multiple of 8, never more than 10 % down."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
