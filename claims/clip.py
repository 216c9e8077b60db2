"""CLIP: does telling captions apart teach more per pair seen than predicting the words of the caption, and does it learn who is where?

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020: zero-shot on ImageNet 76.2 % top-1
(ViT-L/14 at 336 pixels; section 3.1.3); Figure 2: the contrastive objective reaches the zero-shot accuracy of predicting a bag of words with a quarter of
the images.
Here: pictures of two shapes with a sentence, or icons with their names. The zero-shot question is which of the pairs of objects that training never showed
is in the picture (87; each by the mean of its eight sentences), or which of the names of the icons that were held out is its own. A bag of words is asked by
the likelihood of the words. `order` is whether the sentence is preferred to the same words with the objects exchanged, which no bag of words can know (asked
where both have the same article, as the first word of a text has a token of its own).
The encoder of text is a transformer in the arms that have one; in the paper's Figure 2 there are bags of words on both sides.
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from manyviews.app.building import changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.contracts import Method, Recipe
from manyviews.data.builtin_pairs import sentence
from manyviews.data.pairs import caption
from manyviews.evaluate.features import extract
from manyviews.evaluate.zero_shot import ranks
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
    """Right or wrong for each test sample: zero-shot, order (where there are two objects), and the probes (where there are labels)."""
    towers, test = method.encoder.eval(), bench.test
    words = isinstance(method, BagOfWords)
    order = np.array_split(np.arange(len(test)), -(-len(test) // 256))
    seen = (lambda v: method.words(towers(v))) if words else towers.embed_image
    x, index = extract(seen, test.batches(order, bench.threads), plain(bench.size, "pairs"), bench.device)

    def embed(texts):
        parts = [texts[i : i + 512] for i in range(0, len(texts), 512)]
        read = (lambda part: method.bags(towers.text.read(part).x)) if words else lambda part: F.normalize(towers.embed_words(part), dim=1)
        return torch.cat([read(part).float().cpu() for part in parts])

    def place(classes, own):
        """How many classes come before the right one, a bag by its likelihood, all else by its cosine."""
        if not words:
            return ranks(x, classes, own)
        scores = x @ classes.T
        return (scores >= scores.gather(1, own[:, None])).sum(1) - 1

    if "first" not in test.columns:
        texts = [caption(test, int(i)) for i in index]
        names = sorted(set(texts))
        return {"zero-shot": (place(embed(names), torch.tensor([names.index(t) for t in texts])) < 1).numpy()}
    first, second, relation = (test.columns[name][index.numpy()].tolist() for name in ("first", "second", "relation"))
    pairs = sorted({tuple(sorted(p)) for p in zip(first, second, strict=True)})
    sentences = [sentence(*(pair[::way]), r, turned) for pair in pairs for way, r, turned in itertools.product((1, -1), (0, 1), (False, True))]
    classes = embed(sentences).view(len(pairs), 8, -1).mean(1)
    own = torch.tensor([pairs.index(tuple(sorted(p))) for p in zip(first, second, strict=True)])
    found = {"zero-shot": (place(classes, own) < 1).numpy()}
    article = [sentence(a, b, 0).split()[0] == sentence(b, a, 0).split()[0] for a, b in zip(first, second, strict=True)]
    asked = [what for what, same in zip(zip(first, second, relation, strict=True), article, strict=True) if same]
    right, wrong = (embed([sentence(*(pair[::way]), r) for *pair, r in asked]) for way in (1, -1))
    z = (x if words else F.normalize(x, dim=1))[torch.tensor(article)]
    margin = ((right - wrong) * z).sum(1)
    found["order"] = ((margin > 1e-6).double() + 0.5 * (margin.abs() <= 1e-6)).numpy()
    return found | bench.probes(method.exported)


CLAIM = Claim(
    system="clip",
    paper="76.2 % zero-shot on ImageNet (ViT-L/14@336px); Figure 2: as good as predicting a bag of words with a quarter of the images",
    question="Does telling captions apart teach more per pair seen than predicting their words?",
    arms={
        "clip": Arm("clip"),
        "clip, a quarter": Arm("clip", short={"steps": 150}),
        "bag of words": Arm("clip", run=predict_words),
    },
    data=(Arena("builtin:pairs"), Arena("emoji_text")),
    versus=(
        Versus("clip", "bag of words", "zero-shot", says="Telling captions apart beats predicting their words, at as many pairs seen."),
        Versus("clip, a quarter", "bag of words", "zero-shot", says="A quarter of the pairs is enough to be better than predicting words."),
        Versus("clip", "untrained", "zero-shot"),
    ),
    common={"encoder": "two_towers_nano", "steps": 600, "batch": 128, "weight_decay": 0.01},
    full={"encoder": "two_towers_base", "size": 224, "epochs": 32, "batch": 32768, "lr": 5e-4},
    measure=measure,
    raw=False,
)
