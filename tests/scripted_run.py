"""`pipeline.run` with a scripted detector, for tests that want a process of its own.

    python -m tests.scripted_run SECONDS [arguments of pipeline.run]

Each frame takes the detector SECONDS. After the fifth frame it writes `five` to stderr.
"""

import sys
import time

import pipeline.run
from pipeline.frames import Frame
from tests.fakes import ScriptedDetector


def main() -> int:
    seconds = float(sys.argv[1])

    def before(frame: Frame) -> None:
        time.sleep(seconds)
        if frame.index == 5:
            print("five", file=sys.stderr, flush=True)

    pipeline.run.open_detector = lambda config: ScriptedDetector(before=before)  # type: ignore[attr-defined]
    return pipeline.run.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
