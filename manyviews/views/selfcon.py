"""The views that selfcon learns from: one for classes, one (or two, for others) for telling how a picture was made."""

from __future__ import annotations

from manyviews.views.changes import Centre, Crop, Flip, Grey, Jitter
from manyviews.views.picture import Spec
from manyviews.views.policy import Policy


def selfcon(size: int) -> Policy:
    """Bae et al. 2021, arXiv:2106.15499: crops of at least 20 %, flips, MoCo's colours; no blur."""
    return Policy({"v": Spec(size, (Crop((0.2, 1.0)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2)))})


def detection(size: int) -> Policy:
    """The centred square and flips: a picture that is resampled no longer shows how it was made. ImagiNet (arXiv:2407.20020) crops, compresses and blurs."""
    return Policy({"v": Spec(size, (Centre(), Flip()))})


def detection_pair(size: int) -> Policy:
    """The same for methods that take two views."""
    return Policy({role: Spec(size, (Centre(), Flip())) for role in ("v", "w")})
