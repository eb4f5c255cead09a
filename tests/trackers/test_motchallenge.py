import numpy as np
import pytest
from pycocotools import mask as coco_mask

from trackers import Masks, Tracks
from trackers.motchallenge import (
    disjoint,
    mot_lines,
    mots_lines,
    read_mot,
    read_mots,
    read_seqinfo,
)


def tracks_of(masks=None):
    """Ids 1 and 4, of which 4 is not seen."""
    return Tracks(
        ids=np.array([1, 4]),
        boxes=np.array([[10, 20, 30, 60], [0, 0, 5, 5]], np.float32),
        scores=np.array([0.9, 0.5], np.float32),
        coasting=np.array([False, True]),
        velocities=np.zeros((2, 2), np.float32),
        ages_s=np.zeros(2, np.float32),
        masks=masks,
    )


def test_mot_counts_frames_from_one_and_leaves_out_the_unseen():
    assert mot_lines(0, tracks_of()) == ["1,1,10.00,20.00,20.00,40.00,0.9000,-1,-1,-1"]


def test_mots_counts_frames_from_zero():
    dense = np.zeros((2, 50, 40), bool)
    dense[0, 5:15, 5:25] = True
    dense[1, 20:, :] = True
    (line,) = mots_lines(7, tracks_of(Masks.from_dense(dense)))
    frame, id_, label, height, width, counts = line.split(" ")
    assert (frame, id_, label, height, width) == ("7", "1", "1", "50", "40")
    theirs = {"size": [50, 40], "counts": counts.encode()}
    mine = coco_mask.encode(np.asfortranarray(dense[0], np.uint8))
    assert coco_mask.iou([theirs], [mine], [0]).item() == 1.0


def test_mots_without_masks_says_so():
    with pytest.raises(ValueError, match="needs masks"):
        mots_lines(0, tracks_of())


def test_disjoint_gives_a_shared_pixel_to_the_smaller_mask():
    dense = np.zeros((3, 20, 20), bool)
    dense[0, 2:18, 2:18] = True
    dense[1, 4:8, 4:8] = True
    dense[2, 6:10, 6:10] = True
    out = np.stack(list(disjoint(Masks.from_dense(dense), np.array([0.9, 0.5, 0.8], np.float32))))
    assert out.sum(0).max() == 1
    np.testing.assert_array_equal(out.any(0), dense.any(0))
    np.testing.assert_array_equal(out[2], dense[2])  # same size as 1, higher score


def test_mot_text_is_read_back(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1,2,3.5,4,5,6,0.5\n\n2 2 3 4 5 6\n", encoding="utf-8")
    rows = read_mot(path)
    assert rows.tolist() == [[1, 2, 3.5, 4, 5, 6, 0.5, 1, 1], [2, 2, 3, 4, 5, 6, 1, 1, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [("1,2,3,4,5\n", ":1: 5 columns"), ("1,2,3,4,5,6\n1,a,3,4,5,6\n", ":2: not a number")],
)
def test_bad_mot_text_is_named_by_line(tmp_path, text, message):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_mot(path)


def test_mots_text_is_read_back(tmp_path):
    path = tmp_path / "a.txt"
    dense = np.zeros((1, 50, 40), bool)
    dense[0, 5:15, 5:25] = True
    masks = Masks.from_dense(np.concatenate([dense, dense]))
    path.write_text("\n".join(mots_lines(3, tracks_of(masks))), encoding="utf-8")
    (row,) = read_mots(path)[3]
    assert (row.id, row.label, row.rle["size"]) == (1, 1, [50, 40])
    assert coco_mask.area(row.rle) == 200


def test_bad_mots_text_is_named_by_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 2 3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=":1: 3 fields"):
        read_mots(path)


def test_seqinfo(tmp_path):
    assert read_seqinfo(tmp_path).frame_rate == 30.0
    (tmp_path / "seqinfo.ini").write_text(
        "[Sequence]\nframeRate=12.5\nseqLength=40\n", encoding="utf-8"
    )
    info = read_seqinfo(tmp_path)
    assert (info.frame_rate, info.length) == (12.5, 40)
    for bad in ("frameRate=fast", "frameRate=1e-300", "seqLength=3000000000"):
        (tmp_path / "seqinfo.ini").write_text(f"[Sequence]\n{bad}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"seqinfo\.ini"):
            read_seqinfo(tmp_path)
