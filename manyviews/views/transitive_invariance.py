"""Views for Transitive Invariance: the picture as it is, and as another frame of a video might show it."""

from __future__ import annotations

from manyviews.views.changes import Centre, Crop, Flip, Grey, Jitter, Rotate
from manyviews.views.picture import Spec
from manyviews.views.policy import Policy


def transitive_invariance(size: int) -> Policy:
    """`v`, the centred square, is what neighbours are found by; `w` is turned, cropped, mirrored and lit otherwise, in place of a tracked later frame."""
    changes = (Rotate(30.0), Crop((0.3, 1.0)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2))
    return Policy({"v": Spec(size, (Centre(),)), "w": Spec(size, changes)})
