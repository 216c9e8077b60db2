"""CLIP: does telling captions apart teach more per pair seen than predicting the words of the caption, and does it learn who is where?

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020: zero-shot on ImageNet 76.2 % top-1
(ViT-L/14 at 336 pixels; section 3.1.3); Figure 2: the contrastive objective reaches the zero-shot accuracy of predicting a bag of words with a quarter of
the images.
Here: pictures of two shapes with a sentence, or icons with their names. The zero-shot question is which of the pairs of objects that training never showed
is in the picture (87; each by the mean of its eight sentences), or which of the names of the icons that were held out is its own; of k that are equally
likely each counts 1 / k. `place` is how far up the list the right one stands: 1 is the top, one half is chance. A bag of words is asked by the likelihood of
the words, and cannot tell a red circle and a blue square from a blue circle and a red square. `order` is whether the sentence is preferred to the same words
with the objects exchanged, which no bag of words can know (asked where both have the same article, as the first word of a text has a token of its own).
The encoder of text is a transformer in the arms that have one; in the paper's Figure 2 there are bags of words on both sides.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from manyviews.app.building import changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.contracts import Method, Recipe
from manyviews.data.builtin_pairs import questions
from manyviews.evaluate.caption_choice import captions_told
from manyviews.evaluate.features import extract
from manyviews.views.finding import plain

MARKS = 2  # tokens that begin and end a text, and say nothing


class BagOfWords(Method):
    """A linear layer on the pictures' encoder predicts which tokens the caption has."""

    recipe = Recipe(views="clip", optimizer="adamw")

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.words = nn.Linear(encoder.dim, len(encoder.text.bpe))

    def loss(self, image, text):
        return {"words": F.binary_cross_entropy_with_logits(self.words(self.encoder(image)).float(), self.bags(text.x))}

    def bags(self, ids):
        """Which tokens there are, (texts, vocabulary)."""
        bags = torch.zeros(len(ids), self.words.out_features + 1, device=ids.device).scatter(1, ids % (self.words.out_features + 1), 1.0)[:, :-1]
        bags[:, 256 : 256 + MARKS] = 0
        return bags


def predict_words(bench):
    encoder = bench.encoder()
    torch.manual_seed(bench.seed)
    method = BagOfWords(encoder).to(bench.device)
    recipe = changed(method.recipe, bench.words)
    return measure(bench, bench.fit(method, recipe, bench.pretraining))


@torch.no_grad()
def measure(bench, method):
    """Zero-shot, place, order (where there are two objects), and the probes (where there are labels), for each test sample."""
    towers, words = method.encoder.eval(), isinstance(method, BagOfWords)
    seen = (lambda v: method.words(towers(v))) if words else towers.embed_image
    x, _ = extract(seen, bench.test.batches(np.array_split(np.arange(len(bench.test)), 8), bench.threads), plain(bench.size, "pairs"), bench.device)
    read = (lambda texts: method.bags(towers.text.read(texts).x)) if words else towers.embed_words
    found = captions_told(x, read, **questions(bench.test), unit=not words)
    return found if bench.test.labels is None else found | bench.probes(method.exported)


CLAIM = Claim(
    system="clip",
    paper="76.2 % zero-shot on ImageNet (ViT-L/14@336px); Figure 2: as good as predicting a bag of words with a quarter of the images",
    question="Does telling captions apart teach more per pair seen than predicting their words?",
    arms={
        "clip": Arm("clip"),
        "clip, a quarter": Arm("clip", epochs=8, short={"steps": 150}),
        "bag of words": Arm("clip", run=predict_words),
    },
    data=(Arena("builtin:pairs"), Arena("emoji_text")),
    versus=(
        Versus("clip", "bag of words", "zero-shot", says="Telling captions apart beats predicting their words, at as many pairs seen."),
        Versus("clip, a quarter", "bag of words", "zero-shot", says="A quarter of the pairs is enough to be better than predicting words."),
        Versus("clip", "bag of words", "place", says="Its own caption stands further up the list."),
        Versus("clip", "bag of words", "order", arena=False, says="It learns who is where, which a bag of words cannot."),
        Versus("clip", "untrained", "zero-shot"),
    ),
    common={"encoder": "two_towers_nano", "steps": 600, "batch": 128, "weight_decay": 0.01},
    full={"encoder": "two_towers_base", "size": 224, "epochs": 32, "batch": 32768, "lr": 5e-4},
    measure=measure,
    raw=False,
)
