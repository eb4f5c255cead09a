"""The training loop: samples -> network -> losses -> weights, resumable at any time."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import logging
import math
import pickle
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepmask import checkpoint
from deepmask.network import DeepMask, cell_tables
from deepmask.training import losses
from deepmask.training.coco import Photograph
from deepmask.training.config import StageConfig, TrainConfig
from deepmask.training.depthwise import quicken
from deepmask.training.device import DeviceSamples, Store, collate
from deepmask.training.plans import Planner, photographs_of
from deepmask.training.pretrained import load_imagenet
from deepmask.training.samples import Endless, Samples

log = logging.getLogger(__name__)

Sets = dict[str, list[Photograph]]
Validate = Callable[[DeepMask], dict[str, float]]
LOG_STEPS = 50
_RATES = ("peak", "weight_decay")
_cell_tables = lru_cache(maxsize=8)(cell_tables)


class Trainer:
    """One training. Its state is what a checkpoint holds."""

    def __init__(self, config: TrainConfig, output: Path, validate: Validate | None = None) -> None:
        self.config, self.output, self.validate = config, output, validate
        if config.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"device 'cuda' asked for, but this torch ({torch.__version__}) finds no CUDA GPU"
            )
        cuda = config.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if cuda else "cpu")
        torch.manual_seed(config.seed)
        network = _begin(config)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        _freeze(self.network, config.frozen_stages)
        if self.device.type == "cpu":
            quicken(self.network)
        self.forward = (
            torch.compile(self.network, dynamic=False) if config.compile else self.network
        )
        self.learning, self.averaged = _averaged(self.network, self.average)
        self.optimizer = _optimizer(self.network, config)
        self.images = self.steps = 0
        self.elapsed_s = 0.0
        self.validated = 0.0
        self.sums: dict[str, Tensor] = {}
        self.summed = 0

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        budget = self.config.budget_s
        return min(1.0, self.elapsed_s / budget if budget else self.images / self.config.images)

    def fit(self, sets: Sets) -> None:
        """Train to the end, writing checkpoints and, at last, `weights.safetensors`."""
        draws = self.config.samples == "device" or (
            self.config.samples == "auto" and self.device.type == "cuda"
        )
        photographs = photographs_of(sets, self.config.data)
        store = Store(photographs, self.config.data.stored_px, self.device) if draws else None
        saved = time.monotonic()
        for stage in self.config.stages:
            if self.progress >= stage.until:
                continue
            log.info("stage: %d px, batch %d, until %.2f", stage.size_px, stage.batch, stage.until)
            began = time.monotonic()
            for batch in self._batches(sets, stage, store):
                self.step(batch)
                self.elapsed_s += time.monotonic() - began
                began = time.monotonic()
                if time.monotonic() - saved > self.config.checkpoint_s:
                    self.save()
                    saved = time.monotonic()
                if self.progress >= self.validated + self.config.validate_every:
                    self._validate()
                if self.progress >= stage.until:
                    break
        self.save()
        if self.validated < self.progress:
            self._validate()

    def step(self, batch: dict[str, Tensor]) -> None:
        """One step of the optimiser on a batch of samples; waits for no device."""
        self._set_rates()
        self.network.train()
        _keep_trunk_norms(self.network)
        images = batch["image"].float().contiguous(memory_format=torch.channels_last)
        size, cells = (images.shape[2], images.shape[3]), batch["cells"]
        config, tables = self.config, _cell_tables(size, self.config.network, self.device)
        empty = (batch["weights"] >= 1) & (batch["objectness"] == 0)
        with torch.autocast(self.device.type, torch.bfloat16):
            objectness, decoded, mistaken = self.forward(
                images, cells, empty, tables, config.mistakes
            )
        positives = cells.shape[1]
        valid = batch["valid"].flatten()
        wanted = batch["masks"].flatten(0, 1).float() / 255
        logits = decoded.masks[:, :positives].flatten(0, 1).float()
        found = losses.objectness_loss(objectness.float(), batch["objectness"], batch["weights"])
        bce, dice = losses.mask_loss(logits, wanted, valid)
        iou = losses.mask_iou(logits.detach(), wanted)
        real = torch.cat([iou.view_as(cells), torch.zeros_like(mistaken)], 1)
        learnt = torch.cat([batch["valid"], mistaken > 0], 1)
        quality = losses.quality_loss(decoded.quality.float(), real, learnt)
        loss = found + config.mask_weight * (bce + dice) + config.quality_weight * quality
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        self._average()
        self.steps += 1
        self.images += len(images)
        mean_iou = (iou * valid).sum() / valid.sum().clamp(min=1)
        self._log({"score": found, "bce": bce, "dice": dice, "quality": quality, "iou": mean_iou})

    def save(self) -> None:
        """Write a resumable checkpoint and the averaged weights; each replaces its last one."""
        self.output.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "numbers": [self.images, self.steps, self.elapsed_s, self.validated],
        }
        unfinished = self.output / "resume.partial"
        torch.save(state, unfinished)
        unfinished.replace(self.output / "resume.pt")
        self.save_weights()

    def save_weights(self) -> None:
        """Write the averaged weights alone."""
        notes = {
            "images": str(self.images),
            "training": json.dumps(dataclasses.asdict(self.config)),
        }
        checkpoint.save(self.output / "weights.safetensors", self.average, notes)

    def resume(self) -> None:
        """Go on from `resume.pt` in the output folder, with the rates of the settings.

        Raises:
            FileNotFoundError: there is none.
            CheckpointError: it is damaged, or of another network.
        """
        path = self.output / "resume.pt"
        if not path.is_file():
            raise FileNotFoundError(
                f"nothing to go on with: there is no {path}; give the --output of the training to "
                "resume, or begin without --resume"
            )
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise checkpoint.CheckpointError(
                f"{str(path)!r} is damaged: go on from the weights beside it with "
                f"--set initial=FILE ({str(error).splitlines()[0] if str(error) else 'empty'})"
            ) from error
        rates = [{key: group[key] for key in _RATES} for group in self.optimizer.param_groups]
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"{str(path)!r} is of another network, or of other frozen stages: {error}"
            ) from error
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group.update(rate)
        self.images, self.steps, self.elapsed_s, validated = state["numbers"]
        self.validated = min(validated, self.progress)  # the training may be longer now
        log.info("resumed at %d images", self.images)

    def _batches(
        self, sets: Sets, stage: StageConfig, store: Store | None
    ) -> Iterator[dict[str, Tensor]]:
        """Endless batches, on the device: of samples, or of plans that it draws itself."""
        load = partial(
            torch.utils.data.DataLoader,
            batch_size=stage.batch,
            num_workers=self.config.workers,
            prefetch_factor=4 if self.config.workers else None,
            pin_memory=self.device.type == "cuda",
        )
        if store is None:
            for batch in load(Endless(Samples(sets, self.config, stage), self.images, stage.batch)):
                yield {key: v.to(self.device, non_blocking=True) for key, v in batch.items()}
            return
        samples = DeviceSamples(store, self.config, stage)
        planner = Planner(sets, self.config, stage)
        for plans in load(Endless(planner, self.images, stage.batch), collate_fn=collate):
            yield samples.draw(plans)

    def _set_rates(self) -> None:
        """Linear warm-up, then half a cosine down to 1 % (Loshchilov and Hutter 2017)."""
        done, warmup = self.progress, self.config.warmup
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
        factor = min(1.0, (done + 1e-4) / warmup) * cosine if warmup else cosine
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (self.steps + 1) / (self.steps + 10))
        torch._foreach_lerp_(self.averaged, self.learning, 1 - decay)

    def _log(self, values: dict[str, Tensor]) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value.detach()
        self.summed += 1
        if self.summed < LOG_STEPS:
            return
        means = {key: round(float(value) / self.summed, 5) for key, value in self.sums.items()}
        self.sums, self.summed = {}, 0
        self._record({"progress": round(self.progress, 4), "images": self.images, **means})

    def _validate(self) -> None:
        self.validated = self.progress
        if self.validate is not None:
            self._record({"progress": round(self.progress, 4), **self.validate(self.average)})

    def _record(self, row: dict[str, float]) -> None:
        row = {**row, "elapsed_s": round(self.elapsed_s)}
        log.info("%s", json.dumps(row))
        self.output.mkdir(parents=True, exist_ok=True)
        with (self.output / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _begin(config: TrainConfig) -> DeepMask:
    """A network with the weights that the training starts from.

    Raises:
        CheckpointError: `initial` cannot be read, or is another network than the config's.
    """
    if not config.initial:
        network = DeepMask(config.network)
        load_imagenet(network.trunk, config.network.trunk)
        return network
    path = checkpoint.find_weights(config.initial)
    network = checkpoint.load(path)
    if network.config != config.network:
        raise checkpoint.CheckpointError(
            f"{str(path)!r} holds {network.config}, the training asks for {config.network}"
        )
    return network.requires_grad_(True)


def _freeze(network: DeepMask, stages: int) -> None:
    """Fix the stem and the first stages, and fold their norms, which saves passes over memory."""
    frozen = nn.Sequential(network.trunk.stem, *list(network.trunk.stages)[:stages]).eval()
    for part in [m for m in frozen.modules() if isinstance(m, nn.Sequential)]:
        layers = list(part)
        for i, (conv, norm) in enumerate(itertools.pairwise(layers)):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[i], part[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    frozen.requires_grad_(False).to(torch.bfloat16)


def _averaged(network: DeepMask, average: DeepMask) -> tuple[list[Tensor], list[Tensor]]:
    """What training changes: parameters, and the statistics of the heads' norms; in both."""
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    now, mean = network.state_dict(), average.state_dict()
    names += [
        name
        for name, buffer in network.named_buffers()
        if buffer.is_floating_point() and name in now and not name.startswith("trunk.")
    ]
    return [now[name] for name in names], [mean[name] for name in names]


def _keep_trunk_norms(network: DeepMask) -> None:
    """The trunk's batch norms keep their ImageNet statistics: batches here are small."""
    for module in network.trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _optimizer(network: DeepMask, config: TrainConfig) -> torch.optim.AdamW:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.trunk_rate if name.startswith("trunk.") else config.head_rate
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": params, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), params in groups.items()
        ],
        fused=next(network.parameters()).is_cuda,
    )
