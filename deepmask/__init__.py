"""DeepMask over a feature pyramid: one mask and one objectness at each location and scale.

Tensors only: no video, no threads, no identities.
"""
