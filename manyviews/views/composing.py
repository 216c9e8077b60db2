"""From drawn numbers to one 3x3 map and one colour matrix a view."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.groups import Affine, Colour, matrices
from manyviews.views.changes import Centre, Crop, Drawn, Flip, Grey, Jitter, Rotate, Shuffle

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in the reference implementations


def compose_geometry(size: int, extent: Float[Tensor, "views 2"], drawn: Drawn) -> Affine:
    """The map from picture pixels to view pixels. The crop comes first, wherever it stands."""
    width, height = extent.T.contiguous()
    crop, u = next(((change, u) for change, u in drawn if isinstance(change, Crop | Centre)), (Centre(), {}))
    x, y, w, h = crop_box(crop, width, height, u) if isinstance(crop, Crop) else centre_box(width, height)
    parameters = {"crop_x": x, "crop_y": y, "crop_width": w, "crop_height": h}
    m = matrices([[size / w, 0, -x * size / w], [0, size / h, -y * size / h], [0, 0, 1]], like=x)
    for change, u in drawn:
        if isinstance(change, Flip):
            hit = u["hit"][0] < change.p
            m[:, 0, 2] = torch.where(hit, size - m[:, 0, 2], m[:, 0, 2])
            m[:, 0, :2] = torch.where(hit[:, None], -m[:, 0, :2], m[:, 0, :2])
            parameters["flip"] = hit.float()
        elif isinstance(change, Rotate):
            angle = math.radians(change.degrees) * (2 * u["angle"][0] - 1) * (u["hit"][0] < change.p)
            c, s, o = angle.cos(), angle.sin(), size / 2
            m = matrices([[c, -s, o - c * o + s * o], [s, c, o - s * o - c * o], [0, 0, 1]], like=x) @ m
            parameters["angle"] = angle
    return Affine(m, parameters)


def centre_box(width: Float[Tensor, "views"], height: Float[Tensor, "views"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    side = torch.minimum(width, height)
    return (width - side) / 2, (height - side) / 2, side, side


def crop_box(crop: Crop, width: Float[Tensor, "views"], height: Float[Tensor, "views"], u: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, top, width, height: the first of ten draws that fits into the picture, else the largest centred one of an allowed ratio."""
    first, second = u["shape"][:10], u["shape"][10:]
    root = ((crop.scale[0] + (crop.scale[1] - crop.scale[0]) * first) * (width * height)).sqrt()
    low, high = math.log(crop.ratio[0]) / 2, math.log(crop.ratio[1]) / 2
    stretch = (low + (high - low) * second).exp()  # of the width, and the inverse of the height
    w, h = root * stretch, root / stretch
    fits = (w <= width) & (h <= height)
    chosen = fits.float().argmax(0, keepdim=True)
    w, h = w.gather(0, chosen)[0], h.gather(0, chosen)[0]
    inside = (width / height).clamp(*crop.ratio)
    none = ~fits.any(0)
    w = torch.where(none, torch.minimum(width, height * inside), w)
    h = torch.where(none, torch.minimum(height, width / inside), h)
    across, down = torch.where(none, 0.5, u["corner"])
    return (width - w) * across, (height - h) * down, w, h


def compose_colour(mean: Float[Tensor, "views channels"], drawn: Drawn) -> Colour | None:
    """All photometric changes as one matrix a view; `mean` is that of the cropped picture, which the contrast refers to."""
    changes = [(change, u) for change, u in drawn if isinstance(change, Jitter | Shuffle | Grey)]
    if not changes:
        return None
    channels = mean.shape[1]
    identity = torch.eye(channels, channels + 1, device=mean.device).expand(len(mean), -1, -1)
    whole: Colour | None = None
    parameters: dict[str, Tensor] = {}
    for change, u in changes:
        hit = u["hit"][0] < change.p
        if isinstance(change, Jitter):
            here = mean if whole is None else whole.act(mean[:, :, None, None])[:, :, 0, 0]
            step, factors = jitter(change, here, u, hit)
            parameters.update(factors)
        elif isinstance(change, Shuffle):
            order = torch.where(hit, u["order"].argsort(0), torch.arange(channels, device=mean.device)[:, None]).T
            step = identity.gather(1, order[:, :, None].expand(-1, -1, channels + 1))
            parameters["shuffle"] = order.float()
        elif channels == 3:
            luma = torch.tensor([*LUMA, 0.0], device=mean.device).expand(3, 4)
            step = torch.where(hit[:, None, None], luma, identity)
            parameters["grey"] = hit.float()
        else:
            continue
        whole = Colour(step) if whole is None else Colour(step) @ whole
    return Colour(identity if whole is None else whole.matrix, parameters)


def jitter(
    change: Jitter, mean: Float[Tensor, "views channels"], u: dict[str, Tensor], hit: Tensor
) -> tuple[Float[Tensor, "views channels channels_and_1"], dict[str, Tensor]]:
    """Brightness b, contrast c, saturation s and hue h, in the order drawn, as one matrix; and the factors.

    Brightness and contrast scale all colours, so that of the order only three relations matter: whether hue is turned before the contrast takes
    its mean grey, whether before the saturation, and, if before the contrast, whether the saturation comes first. Without three channels there
    is neither saturation nor hue.
    """
    strength = torch.tensor([change.brightness, change.contrast, change.saturation, 2 * math.pi * change.hue], device=mean.device)
    moved = torch.where(hit, strength[:, None] * (2 * u["factors"] - 1), 0.0)
    b, c, s = (1 + moved[:3]).clamp(min=0)
    h = moved[3]
    channels = mean.shape[1]
    if channels != 3:
        grey = term_by_term([1 / channels] * channels, mean)
        linear = torch.eye(channels, device=mean.device) * (b * c)[:, None, None]
        return torch.cat([linear, (b * (1 - c) * grey)[:, None, None].expand(-1, channels, 1)], 2), {"brightness": b, "contrast": c}
    brightness, contrast, saturation, hue = u["order"]  # what has the smaller number comes first
    del brightness
    turn = hue_turn(h)
    level = term_by_term(LUMA, mean)
    luma_of_turn = LUMA[0] * turn[:, 0] + LUMA[1] * turn[:, 1] + LUMA[2] * turn[:, 2]
    turned = (luma_of_turn * mean).unbind(1)
    turned_level = turned[0] + turned[1] + turned[2]
    seen = torch.where(saturation < hue, s * turned_level + (1 - s) * level, turned_level)
    grey = torch.where(hue < contrast, seen, level)
    towards = torch.where((hue < saturation)[:, None], luma_of_turn, torch.tensor(LUMA, device=mean.device))
    linear = (b * c)[:, None, None] * (s[:, None, None] * turn + (1 - s)[:, None, None] * towards[:, None])
    offset = (b * (1 - c) * grey)[:, None, None].expand(-1, 3, 1)
    return torch.cat([linear, offset], 2), {"brightness": b, "contrast": c, "saturation": s, "hue": h, "order": u["order"].argsort(0).T.float()}


def hue_turn(angle: Float[Tensor, "views"]) -> Float[Tensor, "views 3 3"]:
    """Rotations of the colour cube about its grey diagonal (Rodrigues): cos I + sin K + (1 - cos) J / 3, with K the cross product and J all ones."""
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / math.sqrt(3)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cos * (torch.eye(3, device=angle.device) - 1 / 3) + sin * cross + 1 / 3


def term_by_term(weights: tuple[float, ...] | list[float], x: Float[Tensor, "views channels"]) -> Float[Tensor, "views"]:
    """The weighted sum over channels, in one order for every batch."""
    total = weights[0] * x[:, 0]
    for channel in range(1, len(weights)):
        total = total + weights[channel] * x[:, channel]
    return total
