"""What can go wrong in a run, as one tree. Bad arguments are `ValueError` or `TypeError` as usual.

    PipelineError              ours: one line for people, no traceback
    ├── SourceError            a source that cannot be opened or read at all     exit code 2
    │   └── SourceBroken       a source that broke off after frames were read    exit code 3
    ├── Stopped                a run that was stopped before its first picture     exit code 0
    ├── InferenceError         the detector failed on a frame
    └── SinkError              an output that cannot be opened or written

The text of each is a sentence: what was given, what was expected, what to do. Passwords in
addresses never get into it (`pipeline.sources.redact`).
"""

from __future__ import annotations


class PipelineError(Exception):
    """Anything that ends a run and that its user can act on."""


class SourceError(PipelineError):
    """A source cannot be opened, or holds nothing that can be decoded."""


class SourceBroken(SourceError):
    """A source was lost after frames were handed on: what was computed until then is good."""


class Stopped(PipelineError):
    """A run was stopped before its first picture: what an earlier one left is as it was."""


class InferenceError(PipelineError):
    """The detector failed."""


class SinkError(PipelineError):
    """An output cannot be opened or written."""
