"""The evaluation command on a small set: figures, files, mistakes."""

import dataclasses
import json
import sys
import types

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from deepmask import reliability
from deepmask.deploy import DeployConfig
from deepmask.evaluate import EVALUATION, average_recall, main, results_of
from deepmask.proposals import Proposals
from deepmask.training.coco import Photograph, load_photographs

SIZE = (40, 60)


def rle(x1, y1, x2, y2):
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    encoded = coco_mask.encode(mask)
    return {"size": list(SIZE), "counts": encoded["counts"].decode()}


def annotation(*box, **more):
    x1, y1, x2, y2 = box
    area = (x2 - x1) * (y2 - y1)
    return {
        "image_id": 1,
        "segmentation": rle(*box),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "iscrowd": 0,
        **more,
    }


def photograph(*annotations, exhaustive=True):
    return Photograph(1, b"", *SIZE, exhaustive, annotations)


def proposals(*boxes):
    return Proposals(
        np.array(boxes, np.float32),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.linspace(0.8, 0.4, len(boxes), dtype=np.float32),
        np.array([box[:2] for box in boxes], np.int32),
        tuple(np.ones((y2 - y1, x2 - x1), bool) for x1, y1, x2, y2 in boxes),
        np.zeros((len(boxes), 4), np.float32),
    )


def test_results_are_coco_results_of_the_whole_picture():
    (row,) = results_of(photograph(), proposals((5, 6, 25, 16)))
    assert row["bbox"] == [5, 6, 20, 10]
    assert row["segmentation"] == rle(5, 6, 25, 16)
    assert row["score"] == pytest.approx(0.9)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_recall_counts_overlaps_from_half_to_almost_all(kind):
    truth = photograph(annotation(0, 0, 20, 20), annotation(30, 0, 50, 20))
    exact = results_of(truth, proposals((0, 0, 20, 20), (30, 0, 50, 20)))
    assert average_recall([truth], exact, kind)["AR@10"] == 1
    loose = results_of(truth, proposals((0, 0, 20, 20), (30, 0, 50, 15)))  # IoU .75 on the second
    assert average_recall([truth], loose, kind)["AR@100"] == pytest.approx((1 + 0.6) / 2)


def test_crowds_and_incomplete_images_do_not_count():
    crowd = photograph(annotation(0, 0, 20, 20), annotation(20, 20, 60, 40, iscrowd=1))
    found = results_of(crowd, proposals((0, 0, 20, 20)))
    assert average_recall([crowd], found, "segm")["AR@10"] == 1
    incomplete = photograph(annotation(0, 0, 20, 20), exhaustive=False)
    assert average_recall([incomplete], found, "segm") == {}


def test_mistakes_are_one_line(tmp_path, capsys):
    missing = ["--annotations", str(tmp_path / "no.json"), "--images", str(tmp_path)]
    assert main(missing) == 2
    assert "no.json" in capsys.readouterr().err
    annotations = tmp_path / "set.json"
    annotations.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}],
                "annotations": [],
            }
        ),
        encoding="utf-8",
    )
    assert main(["--annotations", str(annotations), "--images", str(tmp_path)]) == 2
    assert "a.jpg" in capsys.readouterr().err


def test_files_of_another_kind_are_named(tmp_path, capsys):
    annotations, images = tmp_path / "set.json", tmp_path / "pictures.tar"
    command = ["--annotations", str(annotations), "--images", str(images)]
    images.write_text("not a tar", encoding="utf-8")
    for text in ("not JSON", "[]", '{"images": []}', '{"images": [{}], "annotations": []}'):
        annotations.write_text(text, encoding="utf-8")
        assert main(command) == 2
        assert f"{annotations}: expected COCO instances" in capsys.readouterr().err
    annotations.write_text('{"images": [], "annotations": []}', encoding="utf-8")
    assert main(command) == 2
    assert "pictures.tar: expected a tar file or a folder" in capsys.readouterr().err


def test_masks_may_be_polygons_or_counts(tmp_path):
    polygon = [[10, 5, 30, 5, 30, 25, 10, 25]]
    counts = {"size": list(SIZE), "counts": [10 * 40 + 5, 20, 40 * 60 - 10 * 40 - 25]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [
            {"image_id": 1, "segmentation": each} for each in (polygon, counts, rle(10, 5, 30, 25))
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "a.png").touch()
    (found,) = load_photographs(tmp_path / "set.json", [tmp_path])
    assert [int(found.mask(i).sum()) for i in range(3)] == [400, 20, 400]


def test_a_set_without_photographs_is_a_mistake(tmp_path, capsys):
    annotations = tmp_path / "none.json"
    annotations.write_text(
        json.dumps({"images": [], "annotations": [], "categories": []}), encoding="utf-8"
    )
    assert main(["--annotations", str(annotations), "--images", str(tmp_path)]) == 2
    assert "no photographs" in capsys.readouterr().err


def test_objects_of_incomplete_images_count_where_only_recall_is_asked():
    incomplete = photograph(annotation(0, 0, 20, 20), exhaustive=False)
    found = results_of(incomplete, proposals((0, 0, 20, 16)))  # IoU .8
    recall = average_recall([incomplete], found, "segm", recall_only=True)
    assert recall["AR@10"] == pytest.approx(0.7)
    assert recall["at IoU .5"] == 1
    assert "AR@100 large" not in recall


def test_reliability_compares_what_was_predicted_with_the_best_object():
    truth = photograph(annotation(0, 0, 20, 20), annotation(30, 0, 60, 40, iscrowd=1))
    boxes = [(0, 0, 20, 10), (20, 20, 30, 30), (35, 5, 45, 15)]  # IoU .5, 0, and in the crowd
    found = results_of(truth, proposals(*boxes))
    assert reliability.real_ious(truth, found) == [0.5, 0, None]
    measured = reliability.measure([truth], found)
    assert measured["predicted IoU"].counts.sum() == 2
    assert measured["predicted IoU"].error == pytest.approx((0.3 + 0.6) / 2)
    assert measured["score"].error == pytest.approx((0.4 + 0.7) / 2)
    assert measured["score"].hits[9] == 1
    assert "expected calibration error 0.550" in reliability.table(measured)


def test_reliability_counts_only_where_all_is_labelled():
    incomplete = photograph(annotation(0, 0, 20, 20), exhaustive=False)
    found = results_of(incomplete, proposals((0, 0, 20, 20)))
    assert reliability.measure([incomplete], found)["score"].counts.sum() == 0


def test_a_plot_that_cannot_be_drawn_is_said_at_once(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["--annotations", "nowhere.json", "--images", "nowhere"]
    assert main([*arguments, "--reliability", "plot.png"]) == 2
    assert "pip install 'deepmask-tracking[train]'" in capsys.readouterr().err


def test_command_prints_the_figures_and_draws_the_reliability(tmp_path, capsys, monkeypatch):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [annotation(0, 0, 20, 20)],
    }
    (tmp_path / "set.json").write_text(json.dumps(content), encoding="utf-8")
    pixels = cv2.imencode(".png", np.zeros((*SIZE, 3), np.uint8))[1]
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(pixels.tobytes())
    runtime = types.SimpleNamespace(description="scripted")
    seen = []

    def find(runtime, image, config):
        seen.append(config)
        return proposals((0, 0, 20, 20), (30, 0, 50, 20))

    monkeypatch.setattr("deepmask.evaluate.find_proposals", find)
    monkeypatch.setattr("deepmask.evaluate._find_ranked", find)
    monkeypatch.setattr("deepmask.evaluate.open_runtime", lambda config: runtime)
    arguments = ["--annotations", str(tmp_path / "set.json"), "--images", f"{tmp_path}/pictures"]
    arguments += ["--results", str(tmp_path / "results.json")]
    arguments += ["--reliability", str(tmp_path / "plots" / "reliability.png")]
    assert main([*arguments, "--set", "proposals.max_iou=0.7", "--weights", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "images 1, results an image 2.00" in printed
    assert "mask AR@10 1.000" in printed
    assert seen == [
        dataclasses.replace(
            EVALUATION,
            weights="mine",
            proposals=dataclasses.replace(EVALUATION.proposals, max_iou=0.7),
        )
    ]
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert rows[0]["predicted_iou"] == pytest.approx(0.8)
    assert cv2.imread(str(tmp_path / "plots" / "reliability.png")) is not None
    assert main([*arguments, "--deployed"]) == 0
    assert seen[-1] == DeployConfig()
