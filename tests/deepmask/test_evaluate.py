"""The evaluation command on a small set: figures, files, mistakes."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from deepmask.evaluate import average_recall, main, results_of
from deepmask.proposals import Proposals
from deepmask.training.coco import Photograph

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
        )
    )
    assert main(["--annotations", str(annotations), "--images", str(tmp_path)]) == 2
    assert "a.jpg" in capsys.readouterr().err
