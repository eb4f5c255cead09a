"""Follow what the camera sees and say what comes and goes.

    python -m demos.webcam [SOURCE]

For a window with the picture, `python -m pipeline.run --source webcam`. Ctrl-C ends both.
"""

from __future__ import annotations

import sys

from pipeline import track
from pipeline.errors import PipelineError


def main() -> None:
    """Print each identity once when it appears and once when it is gone."""
    source = sys.argv[1] if len(sys.argv) > 1 else "webcam"
    present: set[int] = set()
    try:
        for frame, tracks in track(source):
            now = set(tracks.ids.tolist())
            for number in sorted(now - present):
                print(f"{frame.time_s:7.2f} s  object {number} is here")
            for number in sorted(present - now):
                print(f"{frame.time_s:7.2f} s  object {number} is gone")
            present = now
    except PipelineError as error:
        raise SystemExit(f"demos.webcam: {error}") from None
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
