"""Zero-shot: a picture's class is the one whose description, as text, lies nearest to it; and retrieval of either from the other.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP), ICML 2021, arXiv:2103.00020, sections 3.1.2 and 3.1.4.
Departs from the paper: five prompts instead of those written for each data set.
Everything is a pure function of embeddings; only `class_embeddings` calls an encoder of text. No label is used but to count what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.scores import Score, accuracy

TEMPLATES = ("a photo of a {}.", "a photo of a big {}.", "a photo of a small {}.", "a picture of the {}.", "{}")
CHUNK = 4096  # rows compared at once


def prompts(classes: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[list[str]]:
    """For each class its name, with blanks for underscores, in each template. Raises InputError."""
    wrong = [template for template in templates if "{}" not in template]
    if wrong or not templates:
        raise InputError(*([f"the template {template!r} has no {{}} for the name of a class" for template in wrong] or ["no templates"]))
    return [[template.replace("{}", name.replace("_", " ")) for template in templates] for name in classes]


def class_embeddings(
    embed: Callable[[list[str]], Float[Tensor, "texts dim"]], classes: Sequence[str], templates: Sequence[str] = TEMPLATES
) -> Float[Tensor, "classes dim"]:
    """One vector of length 1 a class: the mean over its prompts of their embeddings, each brought to length 1 before."""
    return torch.stack([F.normalize(F.normalize(embed(texts).float(), dim=1).mean(0), dim=0) for texts in prompts(classes, templates)])


def zero_shot(images: Float[Tensor, "rows dim"], classes: Float[Tensor, "classes dim"], scale: float = 100.0) -> Float[Tensor, "rows classes"]:
    """Logits: `scale` (the temperature's inverse; it changes no ranking) times the cosine of each picture and each class."""
    return scale * F.normalize(images.float(), dim=1) @ F.normalize(classes.float(), dim=1).T


def zero_shot_accuracy(
    images: Float[Tensor, "rows dim"], classes: Float[Tensor, "classes dim"], labels: Int[Tensor, "known"], seed: int = 0
) -> dict[str, Score]:
    """`zero-shot`, and with more than five classes `zero-shot top-5`: the share of pictures whose class is the nearest, or among the five nearest."""
    if len(images) != len(labels):
        raise InputError(f"{len(images):,} pictures and {len(labels):,} labels")
    place = ranks(images, classes, labels)
    found = {"zero-shot": accuracy(place < 1, seed)}
    return found if len(classes) <= 5 else {**found, "zero-shot top-5": accuracy(place < 5, seed)}


def recall(
    images: Float[Tensor, "rows dim"], texts: Float[Tensor, "texts dim"], image_of: Int[Tensor, "texts"] | None = None, k: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> dict[str, Score]:  # fmt: skip
    """`image to text R@k` and `text to image R@k`: the share of queries with one that belongs to it among the k nearest.

    image_of: which picture each text describes, where they are not one to one in order; a picture may have several texts.
    """
    if image_of is None and len(images) != len(texts):
        raise InputError(f"{len(images):,} pictures and {len(texts):,} texts; say with image_of which picture each text describes")
    own = torch.arange(len(texts)) if image_of is None else image_of.cpu()
    forth, back = best_of_several(images, texts, own), ranks(texts, images, own)
    found: dict[str, Score] = {}
    for name, place in (("image to text", forth), ("text to image", back)):
        found |= {f"{name} R@{n}": accuracy(place < n, seed) for n in k}
    return found


def ranks(queries: Float[Tensor, "rows dim"], keys: Float[Tensor, "keys dim"], own: Int[Tensor, "rows"]) -> Int[Tensor, "rows"]:
    """How many other keys are at least as near to each query as its own: 0 is the nearest. Equal ones count as nearer, so that a constant wins nothing."""
    out = [torch.zeros(0, dtype=torch.long)]
    for rows, cosine in similarities(queries, keys):
        mine = own[rows].to(cosine.device)[:, None]
        out.append(((cosine >= cosine.gather(1, mine)).sum(1) - 1).cpu())
    return torch.cat(out)


def best_of_several(images: Float[Tensor, "rows dim"], texts: Float[Tensor, "texts dim"], image_of: Int[Tensor, "texts"]) -> Int[Tensor, "rows_with_text"]:
    """For each picture that has a text: how many texts of others are at least as near as the nearest of its own."""
    out = [torch.zeros(0, dtype=torch.long)]
    for rows, cosine in similarities(images, texts):
        mine: Bool[Tensor, "some texts"] = (image_of[None] == torch.arange(len(images))[rows][:, None]).to(cosine.device)
        nearest = torch.where(mine, cosine, -torch.inf).amax(1, keepdim=True)
        place = ((cosine >= nearest) & ~mine).sum(1)
        out.append(place[mine.any(1)].cpu())
    return torch.cat(out)


def similarities(queries: Float[Tensor, "rows dim"], keys: Float[Tensor, "keys dim"]) -> Iterator[tuple[slice, Float[Tensor, "some keys"]]]:
    """Cosines in chunks of rows."""
    keys = F.normalize(keys.float(), dim=1)
    for start in range(0, len(queries), CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, F.normalize(queries[rows].float(), dim=1) @ keys.T
