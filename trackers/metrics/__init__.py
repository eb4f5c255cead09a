"""How good tracks are: CLEAR, identity, HOTA, OWTA and J, under the names of TrackEval.

Each metric is a function of a `Comparison` and gives a typed result; results of several
sequences are added with `+`.
"""

from trackers.metrics.clear import ClearResult, clear
from trackers.metrics.comparison import Comparison, FrameComparison, compare
from trackers.metrics.hota import HotaResult, hota
from trackers.metrics.identity import IdentityResult, identity
from trackers.metrics.jaccard import JaccardResult, jaccard

__all__ = [
    "ClearResult",
    "Comparison",
    "FrameComparison",
    "HotaResult",
    "IdentityResult",
    "JaccardResult",
    "clear",
    "compare",
    "hota",
    "identity",
    "jaccard",
]
