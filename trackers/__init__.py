"""Identities for detections: boxes, masks, motion, association, metrics.

This room knows numpy, scipy, filterpy and pycocotools. No images, no video, no torch.
"""

from trackers.config import SortConfig
from trackers.detections import Detections
from trackers.masks import Masks
from trackers.sort import SortTracker
from trackers.tracks import Tracks

__all__ = ["Detections", "Masks", "SortConfig", "SortTracker", "Tracks"]
