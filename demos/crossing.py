"""The tracker alone: two shapes change sides, one hidden behind the other half way.

    python -m demos.crossing

No video, no network, no weights: detections go in, identities come out.
"""

from __future__ import annotations

from tests import scenes
from trackers import SortTracker


def main() -> None:
    """Follow the two shapes and print where each identity is, three times a second."""
    scene = scenes.crossing(box_noise_px=1.0, min_visible=0.3)
    tracker = SortTracker()
    identities: set[int] = set()
    for index in scene.indices():
        tracks = tracker.update(scene.detect(index), scene.time_s(index))
        identities.update(tracks.ids.tolist())
        if index % 8 == 0:
            seen = [
                f"{number}{'?' if coasting else ' '} x={(box[0] + box[2]) / 2:5.1f}"
                for number, coasting, box in zip(
                    tracks.ids, tracks.coasting, tracks.boxes, strict=True
                )
            ]
            print(f"{scene.time_s(index):4.2f} s  {'   '.join(seen)}")
    print(f"{len(scene.shapes)} objects, {len(identities)} identities")


if __name__ == "__main__":
    main()
