"""Counters: right bits, right distributions, and nothing that depends on company."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch

from manyviews.counters import Counter

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def slow_bits(seed: int, step: int, name: str, index: int, entry: int) -> int:
    """SplitMix64 in Python's integers: the entry-th output of a stream whose state is a hash of the other four."""
    key = int.from_bytes(hashlib.blake2b(f"{seed}/{step}/{name}".encode(), digest_size=8).digest(), "little")
    return mix((mix((index * GOLDEN + key) & MASK) + (entry + 1) * GOLDEN) & MASK)


def test_bits_are_splitmix64_of_a_hash_of_seed_step_name_and_index() -> None:
    index = torch.tensor([0, 1, 7, 10**12, 2**62])
    got = Counter(3, 11).bits("crop", index, 2, 3).reshape(5, 6)
    for row, i in enumerate(index.tolist()):
        assert [n & MASK for n in got[row].tolist()] == [slow_bits(3, 11, "crop", i, e) for e in range(6)]


def test_the_numbers_are_these_for_ever() -> None:
    index = torch.tensor([0, 1, 2])
    assert Counter(0, 0).bits("name", index).tolist() == [-5707741976390668524, -1968520263805250623, 5466733846051171182]
    assert Counter(5, 7).uniform("crop", index).tolist() == [0.17733287811279297, 0.34589797258377075, 0.2856858968734741]
    assert Counter(1, 2).integer("queue") == 2752729521250111927


def test_uniform_numbers_are_uniform_and_uncorrelated() -> None:
    u = Counter(0, 0).uniform("u", torch.arange(20000), 5)
    assert float(u.min()) >= 0 and float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 4 / math.sqrt(12 * u.numel())
    assert abs(float(u.var()) - 1 / 12) < 0.002
    counts = torch.histc(u, 64, 0, 1)
    assert float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 63 + 5 * math.sqrt(2 * 63)  # chi-square
    correlation = torch.corrcoef(torch.cat([u.T, u.roll(1, 0).T])) - torch.eye(10)
    assert float(correlation.abs().max()) < 5 / math.sqrt(len(u))


@pytest.mark.parametrize("other", [Counter(1, 0), Counter(0, 1)])
def test_names_seeds_and_steps_are_independent(other: Counter) -> None:
    index = torch.arange(20000)
    a, b, c = Counter(0, 0).uniform("a", index), Counter(0, 0).uniform("b", index), other.uniform("a", index)
    assert float((torch.corrcoef(torch.stack([a, b, c])) - torch.eye(3)).abs().max()) < 5 / math.sqrt(len(index))
    assert float((a == b).float().mean()) < 1e-3


def test_a_number_depends_on_its_sample_and_not_on_the_batch() -> None:
    index = torch.tensor([9, 4, 30, 2])
    u = Counter(2, 3).uniform("x", index, 4)
    for i in range(4):
        assert torch.equal(Counter(2, 3).uniform("x", index[i : i + 1], 4)[0], u[i])
    assert torch.equal(Counter(2, 3).uniform("x", index.flip(0), 4).flip(0), u)


def test_more_entries_begin_with_the_same_numbers() -> None:
    index = torch.arange(5)
    assert torch.equal(Counter(0, 0).uniform("x", index, 9)[:, :4], Counter(0, 0).uniform("x", index, 4))


def test_several_names_at_once_are_the_same_numbers() -> None:
    counts, index, counter = {"a": 3, "b": 1, "c": 20}, torch.tensor([5, 0, 123456789012]), Counter(4, 9)
    together = counter.uniforms(counts, index)
    assert together.shape == (24, 3) and together.is_contiguous()
    assert torch.equal(together, torch.cat([counter.uniform(name, index, count).T for name, count in counts.items()]))


def test_normal_numbers_are_standard_normal() -> None:
    z = Counter(0, 0).normal("z", torch.arange(40000))
    assert abs(float(z.mean())) < 0.025 and abs(float(z.var()) - 1) < 0.04
    assert abs(float((z**3).mean())) < 0.08 and abs(float((z**4).mean()) - 3) < 0.2
    assert bool(z.isfinite().all())


def test_gumbel_numbers_choose_by_the_softmax_and_are_finite_whatever_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    index, logits = torch.arange(40000), torch.tensor([0.0, 1.0, -0.5])
    share = (logits + Counter(0, 0).gumbel("g", index, 3)).argmax(1).bincount() / len(index)
    assert torch.allclose(share, logits.softmax(0), atol=0.01)
    for u in (0.0, 1 - 2.0**-24):  # the smallest and the largest of the uniform numbers
        monkeypatch.setattr(Counter, "uniform", lambda self, name, index, *shape, u=u: torch.full((len(index), *shape), u))
        z = Counter(0, 0).gumbel("g", index[:2], 3)
        assert bool(z.isfinite().all()) and float(z[0, 0]) == pytest.approx(-math.log(-math.log(max(u, 2.0**-25))), rel=1e-6)


def test_orders_are_permutations_and_all_equally_frequent() -> None:
    order = Counter(0, 0).order("o", torch.arange(24000), 4)
    assert torch.equal(order.sort(1).values, torch.arange(4).expand(24000, 4))
    counts = (order * torch.tensor([64, 16, 4, 1])).sum(1).bincount()
    counts = counts[counts > 0].float()
    assert len(counts) == 24 and float(((counts - 1000) ** 2 / 1000).sum()) < 23 + 5 * math.sqrt(2 * 23)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_bits() -> None:
    index = torch.arange(100)
    assert torch.equal(Counter(1, 1).bits("x", index.cuda(), 7).cpu(), Counter(1, 1).bits("x", index, 7))
    assert torch.equal(Counter(1, 1).uniforms({"a": 2, "b": 3}, index.cuda()).cpu(), Counter(1, 1).uniforms({"a": 2, "b": 3}, index))
