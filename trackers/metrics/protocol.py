"""What a benchmark does not score: distractors, ignore regions, tiny boxes.

Rows are those of `trackers.motchallenge.read_mot`: frame, id, x, y, w, h, flag, class,
visibility for the truth. The rules of MOT17 and MOT20 are those of TrackEval
(`mot_challenge_2d_box.py`); those of KITTI are for trackers that know no class, so all scored
classes count at once.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trackers import boxes as boxlib
from trackers.metrics.comparison import EPS

Floats = NDArray[np.float64]

Protocol = Literal["mot17", "mot20", "kitti", "plain"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

DISTRACTORS = {"mot17": (2, 7, 8, 12), "mot20": (2, 6, 7, 8, 12)}
"""Classes that may be found or not: person on vehicle, static person, distractor, reflection."""

PEDESTRIAN, DONT_CARE = 1, 0
FLAG, LABEL = 6, 7
KITTI_MIN_HEIGHT_PX = 25.0


def protocol_of(path: str) -> Protocol:
    """The protocol that fits a data set, by the names in its path."""
    name = path.upper()
    if "MOT17" in name or "MOT16" in name:
        return "mot17"
    if "MOT20" in name:
        return "mot20"
    return "kitti" if "KITTI" in name else "plain"


def corners(rows: Floats) -> Floats:
    """`(R, 4)` x1, y1, x2, y2 of MOT rows."""
    return np.concatenate((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]), axis=1)


def scored(truth: Floats, result: Floats, protocol: Protocol) -> tuple[Floats, Floats]:
    """The rows of one frame that count, truth and result.

    A report that matches something which is not scored (IoU from .5, one to one) is left out of
    the count, as is whatever lies in a KITTI region that nobody annotated.
    """
    counts = truth[:, FLAG] > 0
    if protocol == "plain":
        return truth[counts], result
    thing = truth[:, LABEL] >= DONT_CARE
    counts &= thing
    if protocol in DISTRACTORS:
        counts &= truth[:, LABEL] == PEDESTRIAN
    matched, found = _match(truth[thing], result)
    if protocol in DISTRACTORS:
        excused = np.isin(truth[thing][matched, LABEL], DISTRACTORS[protocol])
    else:
        excused = truth[thing][matched, FLAG] <= 0
    drop = np.zeros(len(result), bool)
    drop[found[excused]] = True
    if protocol == "kitti":
        unmatched = np.ones(len(result), bool)
        unmatched[found] = False
        drop |= unmatched & _unannotated(result, truth[~thing])
    return truth[counts], result[~drop]


def _match(truth: Floats, result: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of truth and result with IoU from .5 on, one to one."""
    similarity = boxlib.iou(corners(truth), corners(result))
    similarity[similarity < 0.5 - EPS] = 0.0
    row, column = linear_sum_assignment(similarity, maximize=True)
    good = similarity[row, column] > EPS
    return row[good], column[good]


def _unannotated(result: Floats, regions: Floats) -> NDArray[np.bool_]:
    """Which KITTI results are too low to be annotated, or more than half in a DontCare region."""
    low = result[:, 5] <= KITTI_MIN_HEIGHT_PX + EPS
    i, j, sides = boxlib.overlaps(corners(result), corners(regions))
    inside = np.zeros((len(result), len(regions)))
    inside[i, j] = sides[0] * sides[1] / (result[i, 4] * result[i, 5])
    return np.asarray(low | (inside > 0.5 + EPS).any(1))
