"""Randomness from counters: a number depends on (seed, step, sample, name) and on nothing else.

So two processes draw what one would, a worker's number is nobody's business, and a resumed run repeats exactly. The generator is
SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), evaluated at a hash of the four.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor


def _signed(n: int) -> int:
    n &= (1 << 64) - 1
    return n - (1 << 64) if n >> 63 else n


GOLDEN, MIX1, MIX2 = (_signed(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(z: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * MIX1
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * MIX2
    return z ^ ((z >> 31) & ((1 << 33) - 1))


@functools.lru_cache(maxsize=4096)
def _key(seed: int, step: int, name: str) -> int:
    return _signed(int.from_bytes(hashlib.blake2b(f"{seed}/{step}/{name}".encode(), digest_size=8).digest(), "little"))


@functools.lru_cache(maxsize=256)
def _entries(counts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """For names of so many entries each: every entry's step of the generator (entries, 1), and the name it belongs to."""
    steps = torch.cat([torch.arange(1, count + 1) for count in counts]) * GOLDEN
    return steps[:, None].to(device), torch.repeat_interleave(torch.tensor(counts)).to(device)


@dataclasses.dataclass(frozen=True)
class Counter:
    """The source of randomness of one step."""

    seed: int
    step: int

    def bits(self, name: str, index: Int[Tensor, "batch"], *shape: int) -> Int[Tensor, "batch *shape"]:
        """64 random bits for each sample and entry."""
        entries = torch.arange(math.prod(shape), device=index.device)
        rows = _mix(index.long() * GOLDEN + _key(self.seed, self.step, name))
        return _mix(rows[:, None] + (entries + 1) * GOLDEN).reshape(len(index), *shape)

    def uniform(self, name: str, index: Int[Tensor, "batch"], *shape: int) -> Float[Tensor, "batch *shape"]:
        """Uniform in [0, 1), float32."""
        return ((self.bits(name, index, *shape) >> 40) & ((1 << 24) - 1)).float() * 2.0**-24

    def uniforms(self, counts: Mapping[str, int], index: Int[Tensor, "batch"]) -> Float[Tensor, "entries batch"]:
        """`uniform(name, index, count)` for several names at once, below one another; each row is contiguous."""
        keys = torch.tensor([_key(self.seed, self.step, name) for name in counts], device=index.device)
        steps, which = _entries(tuple(counts.values()), index.device)
        rows = _mix(index.long() * GOLDEN + keys[:, None])
        return ((_mix(rows[which] + steps) >> 40) & ((1 << 24) - 1)).float() * 2.0**-24

    def normal(self, name: str, index: Int[Tensor, "batch"], *shape: int) -> Float[Tensor, "batch *shape"]:
        """Standard normal, float32, by Box and Muller."""
        u = self.uniform(name, index, 2, *shape)
        return (-2 * (1 - u[:, 0]).log()).sqrt() * (2 * math.pi * u[:, 1]).cos()

    def gumbel(self, name: str, index: Int[Tensor, "batch"], *shape: int) -> Float[Tensor, "batch *shape"]:
        """Standard Gumbel, float32, always finite (between -2.9 and 16.7): the largest of logits with this added is drawn by their softmax."""
        u = self.uniform(name, index, *shape).clamp(min=2.0**-25)
        return -(-u.log()).log()

    def order(self, name: str, index: Int[Tensor, "batch"], n: int) -> Int[Tensor, "batch n"]:
        """A random permutation of 0..n-1 for each sample."""
        return self.bits(name, index, n).argsort(1)

    def integer(self, name: str) -> int:
        """One number below 2**62 for the step as a whole, the same on every rank."""
        return _key(self.seed, self.step, name) & ((1 << 62) - 1)
