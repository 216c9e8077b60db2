import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from small_encoder import SmallEncoder
from tiny_vit import crops, tiny_vit

from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.point_bert import DVAE, PointBERT, mean_assignment, nearest_block, partners
from manyviews.nn.corruption import existing

SMALL = {"codes": 12, "dim": 8, "hidden": 32, "out": 6, "queue": 10, "samples": 40}


def make(encoder: Encoder | None = None, **options: object) -> PointBERT:
    torch.manual_seed(0)
    method = PointBERT(encoder or tiny_vit(0), **{**SMALL, **options})
    method.counter = Counter(1, 2)
    return method


def pictures(batch: int = 6) -> View:
    return crops(batch)["global_crops"][0]


def clouds(batch: int = 3) -> View:
    x = torch.randn(batch, 128, 3, generator=torch.Generator().manual_seed(0))
    return View(x / x.norm(dim=-1).amax(1)[:, None, None], torch.arange(batch))


def points_encoder() -> Encoder:
    return build_encoder("point_transformer_micro", 3, 128, seed=0)


# --- masked point modelling -------------------------------------------------------------------------------------------------------------------


def test_a_block_is_the_nearest_groups_to_a_random_one():
    where = torch.rand(4, 20, 3, generator=torch.Generator().manual_seed(1))
    exists = torch.ones(4, 20, dtype=torch.bool)
    exists[2, 15:] = False
    u, share = torch.tensor([0.0, 0.31, 0.99, 0.5]), torch.tensor([0.25, 0.45, 0.4, 0.3])
    found = nearest_block(where, exists, u, share)
    for n in range(4):
        real = [i for i in range(20) if exists[n, i]]
        centre = real[int(u[n] * len(real))]
        order = sorted(real, key=lambda i: float((where[n, i] - where[n, centre]).norm()))
        assert {i for i in range(20) if found[n, i]} == set(order[: int(share[n] * len(real))])


@torch.no_grad()
def test_the_terms_of_named_words_are_their_loops():
    method, v = make().eval(), pictures()
    found = method.loss(v)
    tokens, words = method.encoder.tokenize(v), method.dvae.words(v)
    ratio, mixed, mixed_words = method.mix(tokens, words, v.index)
    own = method.counter.uniform("mix/parts", v.index, 16) < ratio[:, None]
    for n, i in itertools.product(range(6), range(16)):
        source = n if own[n, i] else 5 - n
        assert torch.equal(mixed.x[n, i], tokens.x[source, i]) and mixed_words[n, i] == words[source, i]
    for name, shown, wanted, term in (("mask", tokens, words, "words"), ("mixed_mask", mixed, mixed_words, "mixed_words")):
        hidden = method.hide(name, shown, v.index)
        assert all(0.25 * 16 - 1 < count <= 0.45 * 16 for count in hidden.sum(1).tolist())
        x = torch.stack([torch.stack([method.head.mask_token if hidden[n, i] else shown.x[n, i] for i in range(16)]) for n in range(6)])
        parts = method.encoder.encode(type(shown)(x, shown.where, extent=shown.extent)).parts
        errors = [-float(method.predict(parts[n, i]).log_softmax(0)[wanted[n, i]]) for n in range(6) for i in range(16) if hidden[n, i]]
        assert float(found[term]) == pytest.approx(sum(errors) / len(errors), rel=1e-4)


@torch.no_grad()
def test_a_mixed_cloud_is_told_from_all_others_by_the_shares_of_its_two():
    method = make(temperature=0.5)
    q, k = (F.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(s)), dim=1) for s in (1, 2))
    ratio, index = torch.tensor([0.1, 0.9, 0.5, 0.3]), torch.tensor([7, 3, 5, 1])
    method.queue.push(F.normalize(torch.randn(3, 6), dim=1), torch.tensor([3, 20, 7]))
    slow = 0.0
    for n in range(4):
        partner = 3 - n
        negatives = [q[n] @ row / 0.5 for row, owner in zip(method.queue.rows, method.queue.owner, strict=True) if owner not in (index[n], index[partner])]
        logits = torch.stack([*(q[n] @ k[j] / 0.5 for j in range(4)), *negatives])
        slow -= float(ratio[n] * logits.log_softmax(0)[n] + (1 - ratio[n]) * logits.log_softmax(0)[partner])
    assert float(method.tell_both(q, k, ratio, index)) == pytest.approx(slow / 4, rel=1e-4)
    assert torch.equal(partners(index), index.flip(0))


def test_contrasts_are_there_where_they_have_weight_and_keys_go_to_the_queue():
    method, v = make(moco=0.5), pictures()
    assert set(method.loss(v)) == {"words", "mixed_words", "mixed_contrast", "contrast", "named_right"}
    method.after_step()
    assert method.queue.owner[:6].tolist() == v.index.tolist() and not method.fresh
    without = make(contrast=0.0, mix=0.0)
    assert set(without.loss(v)) == {"words", "named_right"} and without.target is None
    assert not any(p.requires_grad for p in without.head.embed.parameters())


# --- the tokenizer ----------------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_tokenizers_terms_are_their_loops():
    dvae = make(points_encoder(), divergence=0.2, annealing=0.4).dvae.train()
    v, dvae.counter, dvae.progress = clouds(), Counter(1, 2), 0.25
    found = dvae.loss(v)
    tokens, logits = dvae.logits(v)
    temperature = 0.0625 + (1 - 0.0625) * (1 + math.cos(math.pi * 0.25 / 0.4)) / 2
    u = dvae.counter.uniform("gumbel", v.index, 8, 12)
    choice = ((logits - (-u.log()).log()) / temperature).exp()
    choice = choice / choice.sum(-1, keepdim=True)
    coarse, fine = dvae.decode(dvae.spread(torch.einsum("bgn,nc->bgc", choice, dvae.codebook), tokens.where, None))
    assert coarse.shape == (3, 8, 8, 3) and fine.shape == (3, 8, 32, 3)
    for name, made in (("coarse", coarse), ("fine", fine)):
        values = []
        for b, g in itertools.product(range(3), range(8)):
            distance = torch.cdist(made[b, g], tokens.content[b, g], compute_mode="donot_use_mm_for_euclid_dist")
            values.append(float(distance.amin(0).mean() + distance.amin(1).mean()) / 2)
        assert float(found[name]) == pytest.approx(sum(values) / 24, rel=1e-4)
    weight = 0.2 * (1 - math.cos(math.pi * (0.25 - 0.05) / 0.4)) / 2
    q = logits.softmax(-1).mean(1)
    prior = (math.log(1 / 12) - q.log()).sum(1).mean() / 12
    assert float(found["prior"]) == pytest.approx(weight * float(prior), rel=1e-3)


def test_every_word_being_used_alike_costs_nothing_and_the_choice_becomes_hard():
    dvae = make(points_encoder()).dvae
    uniform = torch.zeros(2, 5, 12)
    assert torch.allclose(mean_assignment(uniform, torch.ones(2, 5, dtype=torch.bool)), torch.tensor(1 / 12).log().expand(2, 12))
    dvae.counter, dvae.progress = Counter(1, 2), 1.0
    assert dvae.temperature == (1.0, 0.0625) and dvae.loss(clouds())["prior"] >= 0


def test_padding_is_nobodys_neighbour_and_counts_in_no_mean():
    exists = torch.tensor([[True, True, False]])
    logits = torch.randn(1, 3, 4)
    assert torch.allclose(mean_assignment(logits, exists), logits[:, :2].softmax(-1).mean(1).log(), atol=1e-6)
    assert existing(Tokens(torch.zeros(1, 3, 4), torch.zeros(1, 3, 2))).all()


def test_the_tokenizer_is_trained_first_stays_as_it_is_and_hands_its_embedding_to_the_encoder():
    method, v = make(points_encoder(), queue=4), clouds()
    stages = method.stages(None, None)
    first = next(stages)
    assert first.name == "tokenizer" and first.trainable is method.dvae and isinstance(method.dvae, DVAE) and first.share == 1.0
    assert all(p.requires_grad for p in method.dvae.parameters())
    method.dvae.counter = Counter(1, 2)
    terms = method.dvae.train().loss(v)
    torch.stack([t for t in terms.values() if t.requires_grad]).sum().backward()
    assert [name for name, p in method.dvae.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        for p in method.dvae.parameters():
            p.add_(0.01)
    last = next(stages)
    assert last.trainable is method and not any(p.requires_grad for p in method.dvae.parameters())
    for encoder in (method.encoder, method.target[0]):
        assert all(torch.equal(a, b) for a, b in zip(encoder.tokenizer.parameters(), method.dvae.parts.parameters(), strict=True))
    words = method.dvae.words(v)
    method.train()
    method.loss(v)
    assert torch.equal(method.dvae.words(v), words), "naming moved the tokenizer"


@pytest.mark.parametrize("encoder", [points_encoder, tiny_vit])
def test_what_is_trained_gets_a_gradient(encoder):
    method, v = make(encoder(), moco=1.0), clouds() if encoder is points_encoder else pictures()
    torch.stack([t for t in method.train().loss(v).values() if t.requires_grad]).sum().backward()
    assert [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask_spread": 0.4}, r"0.35 \+- 0.4 must lie between 0 and 1"),
        ({"shape": "ring"}, "shape=ring: point_bert hides parts by block or random"),
        ({"codes": 10}, "multiples of 4, 4 and 16 are needed"),
        ({"annealing": 0.0}, "annealing=0.0 tokenizer=1.0: both are shares"),
        ({"temperature": 0.0}, "they divide, and must be above 0"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, object], said: str):
    with pytest.raises(InputError, match=said):
        make(**options)


def test_an_encoder_without_parts_is_refused():
    with pytest.raises(InputError, match="this encoder has none; take --encoder point_transformer"):
        PointBERT(SmallEncoder(), 10)
