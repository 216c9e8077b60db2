import math

import pytest
import torch

from manyviews.nn.transformer import Attention, Block, Transformer


def test_attention_is_the_softmax_of_scaled_products_head_by_head() -> None:
    attention, t = Attention(8, 2), torch.randn(1, 5, 8)
    q, k, v = attention.qkv(t)[0].chunk(3, 1)
    slow = torch.zeros(5, 8)
    for h in range(2):
        own = slice(4 * h, 4 * h + 4)
        for i in range(5):
            scores = [float(q[i, own] @ k[j, own]) / math.sqrt(4) for j in range(5)]
            total = sum(math.exp(s) for s in scores)
            slow[i, own] = sum(math.exp(s) / total * v[j, own] for j, s in enumerate(scores))
    torch.testing.assert_close(attention(t)[0], attention.out(slow), atol=1e-5, rtol=1e-5)


def test_a_block_adds_attention_and_then_a_perceptron_to_what_came_in() -> None:
    block, t = Block(8, 2), torch.randn(2, 3, 8)
    half = t + block.attention(block.norm1(t))
    torch.testing.assert_close(block(t), half + block.mlp(block.norm2(half)))


def test_padding_changes_nothing() -> None:
    network, t = Transformer(8, 3, 2), torch.randn(2, 6, 8)
    exists = torch.arange(6).expand(2, -1) < 4
    torch.testing.assert_close(network(t, exists)[:, :4], network(t[:, :4]), atol=1e-5, rtol=1e-5)


def test_without_positions_the_order_of_tokens_is_invisible() -> None:
    network, t = Transformer(8, 3, 2), torch.randn(2, 6, 8)
    order = torch.randperm(6)
    torch.testing.assert_close(network(t)[:, order], network(t[:, order]), atol=1e-5, rtol=1e-5)


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="take a multiple"):
        Attention(10, 4)
