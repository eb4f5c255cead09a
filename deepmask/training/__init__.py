"""Training: the roof over `deepmask`; nothing that runs needs it."""

import os

# Before torch is loaded: its threads spin while they wait for work, on cores that `depthwise.c` and
# whoever draws samples could use. A step takes a sixth less time where they soon stop.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
