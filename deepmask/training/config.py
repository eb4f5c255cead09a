"""Settings of a training, complete by default. `configs/train_*.yaml` are the recipes in use."""

from __future__ import annotations

import dataclasses
from typing import Literal

from deepmask.config import DeepMaskConfig


@dataclasses.dataclass(frozen=True, slots=True)
class StageConfig:
    """A part of the training at one crop size."""

    until: float = 1.0
    """The stage ends at this share of the training, in (0, 1]."""

    size_px: int = 256
    """Side of the square crops, a multiple of 32."""

    batch: int = 12
    """Images a step."""

    long_side_px: tuple[int, int] = (224, 900)
    """Before the crop, a photograph's long side is scaled to something between, log-uniformly."""

    def __post_init__(self) -> None:
        if not (0 < self.until <= 1 and self.size_px >= 32 and self.size_px % 32 == 0):
            raise ValueError(
                "until should lie in (0, 1], size_px be a multiple of 32, got "
                f"{self.until} and {self.size_px}"
            )
        if not (self.batch >= 1 and 32 <= self.long_side_px[0] <= self.long_side_px[1]):
            raise ValueError(
                "batch should be 1 or more, long_side_px two lengths of 32 px or more, got "
                f"{self.batch} and {self.long_side_px}"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class DataConfig:
    """What the samples are made of."""

    shares: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"train-human": 0.12, "train-photos": 0.5, "train-salient": 0.38}
    )
    """Set (the name of its JSON file) -> share of the samples."""

    background_weight: float = 0.25
    """Weight of negatives where unlabelled objects may lie: images not exhaustively labelled."""

    min_label_score: float = 0.35
    """Machine-made labels below this confidence are neither objects nor background."""

    paste: float = 0.4
    """Share of the images onto which cut-out objects are pasted."""

    scattered: float = 0.1
    """Share of the images that are cut-outs alone: 3 to 12 of them on an empty ground."""

    positives: int = 12
    """Windows an image that learn masks."""

    degrade: float = 0.4
    """Share of the images that get blur, compression or noise, as video frames have."""

    stored_px: int = 480
    """Where photographs lie in a GPU's memory: their longest side; larger ones are shrunk. At 480,
    each takes 0.7 MB, and each of its masks 29 kB."""

    def __post_init__(self) -> None:
        if min(self.shares.values(), default=0.0) < 0 or not sum(self.shares.values()) > 0:
            raise ValueError(
                f"data.shares should give sets shares above 0, got {dict(self.shares)}"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training."""

    network: DeepMaskConfig = dataclasses.field(default_factory=DeepMaskConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    stages: tuple[StageConfig, ...] = (StageConfig(),)

    initial: str = ""
    """Weights to start from (a shipped name or a file) instead of ImageNet's trunk alone."""

    images: int = 60_000
    """Length in images; ignored when `budget_s` is set."""

    budget_s: float = 0.0
    """Length in seconds instead, where above 0: for machines that others use too."""

    head_rate: float = 1e-3
    """AdamW's peak learning rate of pyramid and heads (cosine, after `warmup`)."""

    trunk_rate: float = 2e-4
    """The same for the unfrozen stages of the trunk."""

    warmup: float = 0.01
    """Share of the training in which the rate rises from 0."""

    weight_decay: float = 0.01

    frozen_stages: int = 3
    """The stem and this many of the trunk's seven stages keep their ImageNet weights."""

    ema: float = 0.998
    """Decay a step of the averaged weights, which are the ones kept."""

    mask_weight: float = 1.0
    """Of BCE + Dice, against the objectness loss."""

    quality_weight: float = 0.5
    """Of the predicted IoU's BCE."""

    mistakes: int = 8
    """Windows an image that learn a predicted IoU of 0: where the network sees objects, but
    certainly none is: in images labelled in full, and at parts of labelled wholes in all."""

    seed: int = 0
    workers: int = 1
    """Processes that prepare samples, or only plan them where a GPU draws them."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it trains; "auto": on a GPU where there is one."""

    samples: Literal["auto", "cpu", "device"] = "auto"
    """Who draws samples: processes on the CPU, with OpenCV, or the device that trains, from
    photographs in its memory. "auto": a GPU draws its own."""

    compile: bool = False
    """Compile the network with torch.compile, anew at each crop size."""

    validate_every: float = 0.1
    """Share of the training between two validations."""

    validation_images: int = 40
    """Images of `val` that a validation looks at."""

    checkpoint_s: float = 120.0
    """Seconds between two resumable checkpoints."""

    def __post_init__(self) -> None:
        if self.images < 1 or self.budget_s < 0:
            raise ValueError(
                "images should be 1 or more and budget_s 0 or more, got "
                f"{self.images} and {self.budget_s}"
            )
