"""DeepMask over a feature pyramid: one mask and one objectness at each location and scale.

Tensors only: no video, no threads, no identities.
"""

import sys

# OpenVINO tells Google Analytics each time that it is imported or converts a network, unless it
# does not find this package. Users have not agreed to that. (A program that imported OpenVINO
# before this has told by then.)
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
