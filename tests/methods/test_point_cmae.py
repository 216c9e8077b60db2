import pytest
import torch
from tiny_vit import crops, tiny_vit

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.mask.point_cmae import PointCMAE
from manyviews.nn.masking import hide


def make(**options: object) -> PointCMAE:
    torch.manual_seed(0)
    method = PointCMAE(tiny_vit(0), **{"depth": 1, "heads": 2, **options})
    method.counter = Counter(1, 2)
    return method.eval()


def view() -> View:
    return crops(6)["global_crops"][0]


def parts(method: PointCMAE, v: View) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    tokens = method.encoder.tokenize(v)
    decoded, masks = [], []
    for name, branch in zip(("first", "second"), method.branches, strict=True):
        visible, rows, hidden = hide(tokens, method.counter.order(f"mask/{name}", v.index, 16), 0.6)
        decoded.append(branch(method.encoder.encode(visible), rows, hidden, tokens))
        masks.append(hidden)
    return decoded, masks, tokens.content


@pytest.mark.parametrize("contrast", ["tokens", "all"])
@torch.no_grad()
def test_the_terms_are_their_loops(contrast: str):
    method, v = make(contrast=contrast), view()
    decoded, masks, content = parts(method, v)
    assert not torch.equal(*masks)
    found = method.loss(v)
    for name, branch, full, hidden in zip(("first", "second"), method.branches, decoded, masks, strict=True):
        errors = [float((branch.predict(full[n, i]) - content[n, i]).square().mean()) for n in range(6) for i in range(16) if hidden[n, i]]
        assert float(found[f"{name}_reconstruction"]) == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    values = []
    for n in range(6):
        for i in range(16):
            if masks[0][n, i] and masks[1][n, i]:
                other = [i] if contrast == "tokens" else range(16)
                values.append(sum(1 - float(torch.cosine_similarity(decoded[0][n, i], decoded[1][n, j], dim=0)) for j in other))
    assert float(found["contrast"]) == pytest.approx(sum(values) / len(values), rel=1e-4)


def test_the_branches_are_alike_and_their_own_and_a_weight_of_two_counts_twice():
    method, v = make(), view()
    assert [p.shape for p in method.branches[0].parameters()] == [p.shape for p in method.branches[1].parameters()]
    assert not torch.equal(method.branches[0].mask_token, method.branches[1].mask_token)
    assert float(make(weight=2.0).loss(v)["contrast"]) == pytest.approx(2 * float(method.loss(v)["contrast"]), rel=1e-5)


def test_controls_and_what_cannot_be():
    assert set(make(contrast="none").loss(view())) == {"first_reconstruction", "second_reconstruction"}
    assert float(make(contrast="instance").loss(view())["contrast"]) > 0
    with pytest.raises(InputError, match="contrast=nothing: expected one of tokens, all, instance, none"):
        make(contrast="nothing")
