"""Targets, losses and the trainer, on pictures made here."""

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
import tarfile
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask

from deepmask.checkpoint import CheckpointError
from deepmask.config import DeepMaskConfig
from deepmask.geometry import cell_windows
from deepmask.resample import resample, weights
from deepmask.training import losses, trainer
from deepmask.training.coco import Photograph, decode_image, load_set
from deepmask.training.config import DataConfig, StageConfig, TrainConfig
from deepmask.training.device import DeviceSamples, Store, collate
from deepmask.training.jpeg import compress
from deepmask.training.measured import measure_norms
from deepmask.training.patches import Objects, TargetMaker
from deepmask.training.plans import Damage, load_sets
from deepmask.training.samples import Samples
from deepmask.training.train import main, validate
from tests.networks import small_network
from tests.operators import WAITING, Asked

NETWORK = DeepMaskConfig()
SIZE = 128
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def square(x1, y1, x2, y2):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask


def targets_of(masks, ignored=None, background_weight=1.0, positives=12, turn=0.0):
    """The targets of one picture, as arrays."""
    count = len(masks)
    objects = Objects(
        torch.from_numpy(np.array(masks, np.uint8).reshape(-1, SIZE, SIZE)),
        torch.tensor([False] * count if ignored is None else ignored, dtype=torch.bool),
        torch.zeros(count, dtype=torch.long),
        torch.arange(count),
        max(count, 1),
    )
    maker = TargetMaker(SIZE, NETWORK, positives, torch.device("cpu"))
    targets = maker(objects, torch.tensor([background_weight]), torch.tensor([turn]))
    return arrays_of(targets, 0)


def arrays_of(targets, picture):
    """The fields of one picture's targets as arrays."""
    return SimpleNamespace(**{k: v[picture].numpy() for k, v in targets._asdict().items()})


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


def test_which_windows_learn_masks_turns():
    masks = [square(20, 20, 100, 100)]
    chosen = {tuple(targets_of(masks, positives=2, turn=turn).cells) for turn in (0, 0.3, 0.6)}
    assert len(chosen) > 1
    assert all(len(set(cells)) == 2 for cells in chosen)


def test_a_picture_without_objects_has_only_background():
    for masks in ([], [square(0, 0, 0, 0)]):
        targets = targets_of(masks, background_weight=0.5)
        assert targets.objectness.sum() == 0
        assert (targets.weights == 0.5).all()
        assert not targets.valid.any()
        assert not targets.masks.any()


def test_targets_of_pictures_together_are_those_of_each():
    alone = [[square(40, 40, 81, 81), square(5, 60, 30, 90)], [], [square(10, 10, 100, 90)]]
    objects = Objects(
        torch.from_numpy(np.stack([mask for masks in alone for mask in masks])),
        torch.zeros(3, dtype=torch.bool),
        torch.tensor([0, 0, 2]),
        torch.tensor([0, 1, 0]),
        2,
    )
    maker = TargetMaker(SIZE, NETWORK, 12, torch.device("cpu"))
    together = maker(objects, torch.tensor([1.0, 0.5, 0.25]), torch.tensor([0.0, 0.1, 0.2]))
    for i, masks in enumerate(alone):
        wanted = targets_of(masks, None, (1.0, 0.5, 0.25)[i], turn=(0.0, 0.1, 0.2)[i])
        given = arrays_of(together, i)
        np.testing.assert_array_equal(given.objectness, wanted.objectness)
        np.testing.assert_array_equal(given.weights, wanted.weights)
        np.testing.assert_array_equal(given.masks, wanted.masks)
        np.testing.assert_array_equal(given.cells[given.valid], wanted.cells[wanted.valid])


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


class Case(NamedTuple):
    """A kind of damage, and how far apart two ways to do it may be."""

    name: str
    apart: float
    numbers: dict[str, Any]


DAMAGES = (
    None,
    Case("blur", 1.5, {"sigma_px": 1.2, "quality": 90}),
    Case("motion", 2.0, {"motion_px": (7, 1), "quality": 90}),
    Case("shake", 2.0, {"motion_px": (1, 4), "quality": 90}),
    Case("small", 1.5, {"side_px": 50, "quality": 90}),
    Case("noise", 3.0, {"noise": 8.0, "noise_at": (3, 90), "quality": 90}),
    Case("compressed", 3.0, {"quality": 25}),
)


def make_set(folder, name, count, exhaustive=True):
    """A set of discs on noise, as a tar and a COCO file."""
    rng = np.random.default_rng(len(name))
    images, annotations = [], []
    with tarfile.open(folder / f"{name}-00.tar", "w") as archive:
        for i in range(1, count + 1):
            image = rng.integers(90, 120, (120, 160, 3)).astype(np.uint8)
            x, y, radius = int(rng.integers(50, 110)), int(rng.integers(45, 75)), 33
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
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


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
    first, again = (Samples(sets, config, stage) for _ in range(2))
    for index in (0, 7):
        one, two = first(index), again(index)
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(first(0)["image"], first(1)["image"])


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage and damage.name)
@pytest.mark.parametrize("long_side_px", [(60, 110), (170, 300)], ids=["shrunk", "grown"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_device_draws_what_the_cpu_draws(discs, damage, long_side_px, device):
    config = TrainConfig(data=DataConfig(shares={"things": 1.0}, paste=1.0, scattered=0))
    stage = StageConfig(size_px=96, long_side_px=long_side_px)
    samples = Samples(load_sets(discs, config.data), config, stage)
    plans = [
        dataclasses.replace(samples.planner(i), damage=damage and Damage(**damage.numbers))
        for i in range(6)
    ]
    assert max(len(plan.layers) for plan in plans) > 2
    _assert_drawn_alike(plans, samples, config, stage, device, damage.apart if damage else 1.0)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_scatters_what_the_cpu_scatters(discs, device):
    config = TrainConfig(data=DataConfig(shares={"things": 1.0}, scattered=1.0, degrade=0))
    stage = StageConfig(size_px=160)
    samples = Samples(load_sets(discs, config.data), config, stage)
    plans = [samples.planner(i) for i in range(8)]
    assert all(plan.background_weight == 1 and len(plan.layers) > 3 for plan in plans)
    assert not any(plan.layers[0].annotations for plan in plans)
    sides = [side for plan in plans for layer in plan.layers[1:] for side in layer.to[2:]]
    assert max(sides) < 0.5 * 160 * 1.25
    # A spot's outermost pixels, enlarged, are blended with what lies around it, or are not.
    _assert_drawn_alike(plans, samples, config, stage, device, 4.0)


def _assert_drawn_alike(plans, samples, config, stage, device, most):
    """Pictures of both ways differ by `most` on average, what is to be learnt hardly at all."""
    store = Store(samples.planner.photographs, 480, torch.device(device))
    drawn = DeviceSamples(store, config, stage).draw(collate(plans))
    drawn = {name: value.cpu() for name, value in drawn.items()}
    for i, plan in enumerate(plans):
        wanted = samples.draw(plan)
        apart = (drawn["image"][i].float() - wanted["image"].float()).abs()
        assert apart.mean() < most
        assert (drawn["objectness"][i] == wanted["objectness"]).all()
        assert (drawn["weights"][i] != wanted["weights"]).sum() <= 3
        valid = wanted["valid"]
        assert (drawn["cells"][i][valid] == wanted["cells"][valid]).all()
        apart = (drawn["masks"][i].float() - wanted["masks"].float()).abs()
        assert apart.mean() < 1


def test_drawing_and_training_wait_for_nothing_that_is_computed(discs, tmp_path, monkeypatch):
    """A GPU's queue is kept full only if the CPU need not ask it for anything."""
    monkeypatch.setattr(trainer, "load_imagenet", lambda trunk, name: None)
    config = TrainConfig(
        network=DeepMaskConfig(channels=16, embedding=32),
        data=DataConfig(shares={"things": 1.0}, paste=1.0, degrade=1.0),
        device="cpu",
    )
    stage = StageConfig(size_px=64, long_side_px=(60, 70))
    samples = Samples(load_sets(discs, config.data), config, stage)
    store = Store(samples.planner.photographs, 480, torch.device("cpu"))
    device = DeviceSamples(store, config, stage)
    plans = collate([samples.planner(i) for i in range(2)])
    trained = trainer.Trainer(config, tmp_path)
    # On a CPU the optimiser counts its steps there; on a GPU they are counted on it.
    monkeypatch.setattr(trained.optimizer, "step", lambda: None)
    trained.step(device.draw(plans))  # makes its tables
    with Asked() as asked:
        trained.step(device.draw(plans))
    assert len(asked.names) > 50
    assert asked.names & WAITING == set()


def test_drawing_and_training_stay_on_the_device(discs, tmp_path, monkeypatch):
    """Without a GPU: torch's device without memory refuses, as a GPU does, what lies elsewhere."""
    monkeypatch.setattr(trainer, "load_imagenet", lambda trunk, name: None)
    monkeypatch.setattr(trainer, "quicken", lambda network: None)
    monkeypatch.setattr(torch, "autocast", lambda device, dtype: contextlib.nullcontext())
    meta = torch.device("meta")
    config = TrainConfig(
        network=DeepMaskConfig(channels=16, embedding=32),
        data=DataConfig(shares={"things": 1.0}, paste=1.0, degrade=1.0),
        device="cpu",
    )
    stage = StageConfig(size_px=64, long_side_px=(60, 70))
    samples = Samples(load_sets(discs, config.data), config, stage)
    store = Store(samples.planner.photographs, 480, meta)
    drawn = DeviceSamples(store, config, stage).draw(
        collate([samples.planner(i) for i in range(4)])
    )
    assert {value.device for value in drawn.values()} == {meta}
    trained = trainer.Trainer(config, tmp_path)
    trained.device = meta
    trained.network.float().to(meta)
    trained.average.to(meta)
    trained.optimizer = trainer._optimizer(trained.network, config)
    trained.learning, trained.averaged = trainer._averaged(trained.network, trained.average)
    trained.step(drawn)
    assert {value.device for value in trained.sums.values()} == {meta}


def test_photographs_that_are_too_large_are_stored_smaller(discs):
    config = TrainConfig(data=DataConfig(shares={"things": 1.0}, paste=0, scattered=0, degrade=0))
    stage = StageConfig(size_px=64, long_side_px=(60, 70))
    samples = Samples(load_sets(discs, config.data), config, stage)
    plans = [samples.planner(i) for i in range(4)]
    store = Store(samples.planner.photographs, 80, torch.device("cpu"))
    assert store.pictures.shape == (4, 3, 80, 80)
    drawn = DeviceSamples(store, config, stage).draw(collate(plans))
    wanted = torch.stack([samples.draw(plan)["image"] for plan in plans])
    assert (drawn["image"].float() - wanted.float()).abs().mean() < 4


@pytest.mark.parametrize(("count", "way"), [(90, cv2.INTER_LINEAR), (17, cv2.INTER_AREA)])
def test_resampling_is_opencv_s(count, way):
    image = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    of, to = torch.tensor([[0.0, 40.0]]), torch.tensor([[0.0, float(count)]])
    matrix = weights(of, to, torch.tensor([False]), count, 40)
    given = resample(torch.from_numpy(image)[None], matrix, matrix)[0].numpy()
    wanted = cv2.resize(image, (count, count), interpolation=way)
    inner = np.s_[2:-2, 2:-2]  # at its edge ours fades to 0
    np.testing.assert_allclose(given[inner], wanted[inner], atol=1e-5)
    mirrored = weights(of, to, torch.tensor([True]), count, 40)
    torch.testing.assert_close(mirrored, matrix.flip(1))


@pytest.mark.parametrize("quality", [20, 60, 90])
def test_compression_is_opencv_s(quality):
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), (64, 64))
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    wanted = decode_image(encoded.tobytes()).astype(np.float32)
    images = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None]
    given = compress(images, torch.tensor([float(quality)]))[0].numpy().transpose(1, 2, 0)
    lost = np.abs(wanted - image).mean()
    assert np.abs(given - wanted).mean() < 0.35 * lost


def test_a_set_that_is_not_there_is_named(discs):
    with pytest.raises(FileNotFoundError, match=r"'nothing'.*things"):
        load_set(discs, "nothing")


def _one_picture(folder, shown=None, row=None, name="1.png"):
    """A set of one 40x30 picture with one mask; `row` changes its annotation."""
    encoded = cv2.imencode(".jpg", np.zeros((30, 40, 3), np.uint8) if shown is None else shown)[1]
    (folder / "one" / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "one" / name).write_bytes(encoded.tobytes())
    polygon = [5.0, 5, 25, 5, 25, 20, 5, 20]
    annotation = {"id": 7, "image_id": 1, "iscrowd": 0, "segmentation": [polygon]} | (row or {})
    image = {"id": 1, "file_name": name, "height": 30, "width": 40}
    content = {"images": [image], "annotations": [annotation]}
    (folder / "one.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_area_and_box_follow_from_the_mask(tmp_path):
    (photograph,) = load_set(_one_picture(tmp_path, name="a/1.png"), "one")
    assert photograph.image().shape == (30, 40, 3)
    (row,) = photograph.annotations
    assert (row["area"], row["bbox"]) == (300, [5, 5, 20, 15])


@pytest.mark.parametrize(
    "segmentation",
    [[], [[5, 5, 25, 5]], {"size": [40, 30], "counts": [1200]}, {"size": [30, 40], "counts": [9]}],
)
def test_masks_that_are_none_are_named(segmentation, tmp_path):
    _one_picture(tmp_path, row={"segmentation": segmentation})
    with pytest.raises(ValueError, match="annotation 7 has no mask of 40x30"):
        load_set(tmp_path, "one")


def test_pictures_of_another_size_than_their_labels_are_named(tmp_path):
    (photograph,) = load_set(_one_picture(tmp_path, np.zeros((60, 80, 3), np.uint8)), "one")
    with pytest.raises(ValueError, match=r"id 1 is 80x60, its labels are for 40x30"):
        photograph.image()


@pytest.mark.parametrize(("height", "width", "corner"), [(30, 40, "left"), (40, 30, "right")])
def test_pictures_are_turned_only_where_their_labels_are(height, width, corner, discs):
    image = np.zeros((30, 40, 3), np.uint8)
    image[:15, :20] = 255
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)
    plain = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"Exif\0\0" + tiff
    encoded = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    photograph = Photograph(1, encoded, height, width, True, ())
    shown = photograph.image()
    assert shown.shape[:2] == (height, width)
    assert (shown[5, 5 if corner == "left" else -5] > 200).all()


@pytest.mark.parametrize(
    "setting",
    ["images=0", "budget_s=-1", "data.shares={}", "stages=[{size_px: 100}]", "stages=[{batch: 0}]"],
)
def test_settings_that_make_no_training(setting, discs, tmp_path, capsys):
    given = ["--data", str(discs), "--output", str(tmp_path / "out"), "--set", setting]
    assert main(given) == 2
    assert "should" in capsys.readouterr().err


def test_a_training_is_not_begun_over_another(discs, tmp_path, capsys):
    (tmp_path / "resume.pt").write_bytes(b"cut off")
    folders = ["--data", str(discs), "--output", str(tmp_path), "--set", "data.shares={things: 1}"]
    assert main(folders) == 2
    assert "go on with it with --resume" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_training_learns_resumes_and_writes_weights(discs, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "load_imagenet", lambda trunk, name: None)
    monkeypatch.setattr(trainer, "LOG_STEPS", 5)
    output = tmp_path / "run"
    settings = [
        "data.shares={things: 1.0}",
        "data.paste=0",
        "data.scattered=0",
        "network.channels=16",
        "network.embedding=32",
        "stages=[{size_px: 96, batch: 4, long_side_px: [90, 140]}]",
        "workers=0",
        "device=cpu",
        "validate_every=1",
        "validation_images=1",
        "warmup=0",
    ]
    arguments = ["--data", str(discs), "--output", str(output)]
    for setting in settings:
        arguments += ["--set", setting]
    assert main([*arguments, "--set", "images=40"]) == 0
    assert main([*arguments, "--set", "images=80", "--resume"]) == 0
    whole = (output / "resume.pt").read_bytes()
    (output / "resume.pt").write_bytes(whole[: len(whole) // 2])
    assert main([*arguments, "--set", "images=80", "--resume"]) == 2
    rows = [
        json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    trained = [row for row in rows if "dice" in row]
    assert trained[-1]["images"] == 80
    assert trained[-1]["dice"] < 0.8 * trained[0]["dice"]
    validated = [row["progress"] for row in rows if "mask AR@10" in row]
    assert validated == [1, 1]  # at the end of each part
    assert {"mask AR@10", "mask AR@100", "box AR@100"} <= rows[-1].keys()
    assert (output / "weights.safetensors").is_file()
    assert (output / "log.png").is_file()
    further = [*arguments, "--set", f"initial={output / 'weights.safetensors'}"]
    further += ["--set", "images=8", "--output", str(tmp_path / "more")]
    assert main(further) == 0
    other = [*further, "--set", "network.channels=24"]
    assert main(other) == 2


def test_norms_know_what_passes_through_them_and_nothing_else_changes(discs):
    network, before = small_network(), small_network()
    one = load_set(discs, "val")[0]
    measure_norms(network, [one])
    picture = torch.from_numpy(one.image()).permute(2, 0, 1)[None].float()
    picture = F.interpolate(picture, (288, 384), mode="bilinear", antialias=True)
    wanted = before.dense(picture)
    torch.testing.assert_close(network.dense(picture), wanted, rtol=1e-3, atol=1e-3)
    network.trunk.train()  # now norms take the statistics of what they see
    torch.testing.assert_close(network.dense(picture), wanted, rtol=1e-3, atol=1e-3)
    before.trunk.train()
    assert not torch.allclose(before.dense(picture).features, wanted.features, atol=0.1)


def test_a_device_that_training_does_not_know_is_a_mistake(tmp_path, capsys):
    folders = ["--data", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main([*folders, "--set", "device=cuda:1"]) == 2
    assert "'device' should be one of auto, cpu, cuda, got 'cuda:1'" in capsys.readouterr().err


@pytest.mark.parametrize("device", DEVICES)
def test_training_on_what_the_device_draws(discs, tmp_path, device, monkeypatch):
    monkeypatch.setattr(trainer, "load_imagenet", lambda trunk, name: None)
    monkeypatch.setattr(trainer, "LOG_STEPS", 2)
    config = TrainConfig(
        network=DeepMaskConfig(channels=16, embedding=32),
        data=DataConfig(shares={"things": 1.0}),
        stages=tuple(StageConfig(until, 96, 4, (90, 140)) for until in (0.5, 1.0)),
        images=32,
        workers=0,
        device=device,
        samples="device",
        warmup=0,
    )
    trained = trainer.Trainer(config, tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing to go on with"):
        trained.resume()
    trained.fit(load_sets(discs, config.data))
    again = trainer.Trainer(dataclasses.replace(config, images=40), tmp_path)
    again.resume()
    again.fit(load_sets(discs, config.data))
    rows = [
        json.loads(line)
        for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["images"] for row in rows] == [8, 16, 24, 32, 40]
    assert all(np.isfinite(row["dice"]) for row in rows)


def test_a_mistake_is_one_line(discs, tmp_path, capsys):
    assert main(["--data", str(discs), "--output", str(tmp_path), "--set", "imagez=3"]) == 2
    message = capsys.readouterr().err.strip()
    assert "images" in message
    assert "\n" not in message


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_however_many_processes_make_them(workers):
    # In a process of its own, as a training is: forking one in which OpenVINO has run can crash it.
    code = (
        "import itertools, json, operator, sys, torch\n"
        "from deepmask.training.trainer import Endless\n"
        "def batches(first, count):\n"
        "    endless = Endless(operator.pos, first, batch=4)\n"
        "    workers = int(sys.argv[1])\n"
        "    loader = torch.utils.data.DataLoader(endless, batch_size=4, num_workers=workers)\n"
        "    return [batch.tolist() for batch in itertools.islice(loader, count)]\n"
        "print(json.dumps([batches(0, 6), batches(8, 4)]))\n"
    )
    command = [sys.executable, "-c", code, str(workers)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    wanted = [list(range(at, at + 4)) for at in range(0, 24, 4)]
    assert json.loads(done.stdout) == [wanted, wanted[2:]]  # resumed after two


def test_a_resumed_training_takes_the_rates_it_is_given(discs, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "load_imagenet", lambda trunk, name: None)
    network = DeepMaskConfig(channels=16, embedding=32)
    trainer.Trainer(TrainConfig(network=network, device="cpu"), tmp_path).save()
    given = TrainConfig(
        network=network, device="cpu", head_rate=3e-5, trunk_rate=2e-6, weight_decay=0.5
    )
    resumed = trainer.Trainer(given, tmp_path)
    resumed.resume()
    groups = {(group["peak"], group["weight_decay"]) for group in resumed.optimizer.param_groups}
    assert groups == {(3e-5, 0.5), (3e-5, 0.0), (2e-6, 0.5), (2e-6, 0.0)}
    other = DeepMaskConfig(channels=24, embedding=32)
    with pytest.raises(CheckpointError, match="is of another network"):
        trainer.Trainer(TrainConfig(network=other, device="cpu"), tmp_path).resume()


def test_validation_without_complete_labels_says_nothing():
    assert validate(small_network(), []) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_one_line(discs, tmp_path, capsys):
    folders = ["--data", str(discs), "--output", str(tmp_path)]
    assert main([*folders, "--set", "device=cuda", "--set", "data.shares={things: 1}"]) == 2
    assert "device 'cuda' asked for, but this torch" in capsys.readouterr().err
