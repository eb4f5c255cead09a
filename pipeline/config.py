"""All settings of a run: those of each part, which owns them, put together."""

from __future__ import annotations

import dataclasses

from pipeline.detector import DetectorConfig
from pipeline.render import RenderConfig
from pipeline.sinks.config import OutputConfig
from pipeline.sources.config import SourceConfig
from trackers.config import SortConfig


@dataclasses.dataclass(frozen=True, slots=True)
class TrackerConfig(SortConfig):
    """The tracker's settings. Its own defaults are for any detector; what differs fits DeepMask."""

    birth_score: float = 0.47
    """Objectness from which a detection that is nobody's starts a tracklet."""


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Settings of `python -m pipeline.run`. The defaults are complete."""

    source: SourceConfig = dataclasses.field(default_factory=SourceConfig)
    detector: DetectorConfig = dataclasses.field(default_factory=DetectorConfig)
    tracker: TrackerConfig = dataclasses.field(default_factory=TrackerConfig)
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)
    output: OutputConfig = dataclasses.field(default_factory=OutputConfig)
