"""What every method must keep to, on real steps of the one loop with small encoders. A new method joins by being there.

What a method trains before itself keeps to it too, as far as it can: it declares what it trains. Its data then is what the method's own stage gets.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from manyviews.app.building import build_method
from manyviews.app.catalogue import methods
from manyviews.app.preparing import Tools
from manyviews.backbones.building import build_encoder
from manyviews.backbones.pairs import TwoTowers
from manyviews.backbones.text_pretrained import text_tower
from manyviews.backbones.timm_model import TimmEncoder
from manyviews.contracts import Encoder, Method, Recipe, Trainable
from manyviews.data.builtin_pairs import builtin_pairs
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.data.poses import POSES
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas
from manyviews.train.fit import Step, fit
from manyviews.views.finding import find_policy

# instead of the papers' widths and counts
SMALL = {"hidden": 32, "out": 16, "bottleneck": 8, "queue": 16, "prototypes": 12, "clusters": 4, "dim": 48, "depth": 2, "heads": 3}
SIZE, BATCH, STEPS = 16, 8, 3
ENCODERS = ("resnet_micro", "tiny_vit")
POSED = {"resnet_micro": "induced_pose_micro", "tiny_vit": "cnn_projected_pose_micro"}  # instead of them, where rotations are learned
CASES = [(name, encoder) for name in methods() for encoder in ENCODERS]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is derived between stages is derived by the code of today."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MANYVIEWS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@functools.cache
def labelled_pictures() -> Data:
    """24 smooth pictures of 20 pixels in three classes."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (24, 5, 5, 3))
    smooth = coarse.repeat(4, 1).repeat(4, 2) * 0.8 + rng.uniform(0, 50, (24, 20, 20, 3))
    data = open_data(smooth.astype(np.uint8)).with_columns(label=np.arange(24) % 3)
    return dataclasses.replace(data, classes=["a", "b", "c"])


@functools.cache
def captioned_pictures() -> Data:
    """24 of the built-in pairs."""
    return builtin_pairs().select(np.arange(24))


@functools.cache
def turned_pictures() -> Data:
    """The 24 smooth pictures, each with a rotation."""
    rotation = POSES["uniform"](np.arange(24), 1, 0)[:, 0]
    return labelled_pictures().with_columns(rotation=rotation.astype(np.float32))


@functools.cache
def labelled_nodes() -> Data:
    """24 nodes of a ring with chords, in three classes, of which half are for training."""
    from manyviews.data.graphs import from_array

    ring = np.arange(24)
    edges = np.stack([np.concatenate([ring, ring]), np.concatenate([(ring + 1) % 24, (ring + 3) % 24])])
    x = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    return from_array({"edges": edges, "x": x, "label": ring % 3, "split": np.where(ring < 12, "train", "test")})


def data_for(name: str) -> Data:
    """What a method learns from: pictures with captions where it wants both."""
    if name == "selftask":
        return labelled_nodes()
    if name == "induced_pose":
        return turned_pictures()
    return captioned_pictures() if "text" in methods()[name].views else labelled_pictures()


def small_encoder(name: str, seed: int, data: Data | None = None) -> Encoder:
    if data is not None and data.modality == "graphs":
        return build_encoder("gcn_micro", data.channels, SIZE, seed=seed)
    if data is not None and data.modality == "pairs":
        torch.manual_seed(seed)
        return TwoTowers(small_encoder(name, seed), text_tower("causal_transformer_micro", data.form), 16)
    if data is not None and "rotation" in data.columns:
        return build_encoder(POSED[name], 3, SIZE, seed=seed)
    if name != "tiny_vit":
        return build_encoder(name, 3, SIZE, seed=seed)
    torchvision_schemas.declare()
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(seed)
    return TimmEncoder(VisionTransformer(SIZE, 4, 3, num_classes=0, embed_dim=48, depth=2, num_heads=3, dynamic_img_size=True))


def build(name: str, encoder: str, seed: int = 0) -> tuple[Method, Recipe]:
    settings = {key: SMALL[key] if default == "None" else min(SMALL[key], int(default)) for key, default in methods()[name].parameters.items() if key in SMALL}
    network = small_encoder(encoder, seed, data_for(name))
    torch.manual_seed(seed)
    return build_method(name, network, data_for(name), **settings)


def steps_of(method: Trainable, recipe: Recipe, data: Data, **options: Any) -> Any:
    return fit(method, data, find_policy(recipe.views, SIZE, data.modality), steps=STEPS, batch=BATCH, recipe=recipe, threads=0, **options)


@functools.cache
def prepared(name: str, encoder: str) -> tuple[Data, list[tuple[str, set[str], set[str]]]]:
    """The data of the method's own stage; and of each stage before it the name, what it declared to train, and what of the method got a gradient."""
    method, _ = build(name, encoder)
    before = []
    for stage in method.stages(data_for(name), Tools(SIZE, threads=0)):
        if stage.trainable is method:
            return stage.data, before
        declared = {key for key, p in method.named_parameters() if any(p is q for q in stage.trainable.parameters()) and p.requires_grad}
        for step in steps_of(stage.trainable, stage.trainable.recipe, stage.data):
            assert step.terms and all(math.isfinite(value) for value in [step.loss, *step.terms.values()])
        before.append((stage.name, declared, {*gradients(method)}))
    raise AssertionError(f"the last stage of {name} is not the method itself")


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in tensors.items()}


def gradients(method: nn.Module) -> dict[str, Tensor]:
    return copied({name: p.grad for name, p in method.named_parameters() if p.grad is not None})


@dataclasses.dataclass
class Trained:
    """What was seen of three real steps."""

    method: Method
    rows: list[Step]
    gradients: dict[str, Tensor]  # of the last step
    middle: bytes  # a checkpoint after the second step
    end: dict[str, Tensor]


@functools.cache
def trained(name: str, encoder: str) -> Trained:
    try:
        method, recipe = build(name, encoder)
        rows, middle = [], io.BytesIO()
        for step in steps_of(method, recipe, prepared(name, encoder)[0]):
            rows.append(step)
            if step.number == STEPS - 1:
                torch.save(step.checkpoint(), middle)
    except InputError as error:
        if encoder == "tiny_vit" or "transformer" not in str(error):
            raise
        pytest.skip(f"{name} needs the parts of a sample, which {encoder} does not have")
    return Trained(method, rows, gradients(method), middle.getvalue(), copied(method.state_dict()))


@pytest.mark.parametrize(("name", "encoder"), CASES)
def test_its_terms_have_names_and_are_finite(name: str, encoder: str) -> None:
    for step in trained(name, encoder).rows:
        assert step.terms and all(term.isidentifier() for term in step.terms)
        assert all(math.isfinite(value) for value in [step.loss, *step.terms.values()])


@pytest.mark.parametrize(("name", "encoder"), CASES)
def test_what_is_trained_gets_a_gradient_and_nothing_else_does(name: str, encoder: str) -> None:
    run = trained(name, encoder)
    wanted = {key for key, p in run.method.named_parameters() if p.requires_grad}
    assert set(run.gradients) == wanted
    assert all(bool(g.isfinite().all()) for g in run.gradients.values())
    inside = {key for key, p in run.method.named_parameters() if any(p is q for q in run.method.encoder.parameters())}
    assert inside & wanted, "nothing of the encoder is trained"
    assert math.sqrt(sum(float(run.gradients[key].square().sum()) for key in inside & wanted)) > 0
    for stage, declared, moved in prepared(name, encoder)[1]:
        assert stage.isidentifier() and declared and moved == declared, stage


@pytest.mark.parametrize(("name", "encoder"), CASES)
def test_a_checkpoint_goes_on_exactly_in_a_clone_built_from_another_seed(name: str, encoder: str) -> None:
    run = trained(name, encoder)
    clone, recipe = build(name, encoder, seed=1)
    content = torch.load(io.BytesIO(run.middle), weights_only=True)
    (last,) = steps_of(clone, recipe, prepared(name, encoder)[0], resume=content)
    assert (last.loss, last.terms) == (run.rows[-1].loss, run.rows[-1].terms)
    state = clone.state_dict()
    assert state.keys() == run.end.keys()
    assert not [key for key in state if not torch.equal(state[key], run.end[key])]


def three_steps(fabric: Fabric | None, name: str, encoder: str, data: Data) -> tuple[list[float], list[dict[str, Tensor]], dict[str, Tensor]]:
    """Losses, gradients of each step and the end state, with an optimizer that does not blow rounding errors up."""
    method, recipe = build(name, encoder)
    gentle = dataclasses.replace(recipe, optimizer="sgd", weight_decay=0.0, final_weight_decay=None, warmup=0.0, clip=None)
    losses, seen = [], []
    for step in steps_of(method, gentle, data, fabric=fabric, lr=1e-5):
        losses.append(step.loss)
        seen.append(gradients(method))
    return losses, seen, copied(method.state_dict())


@pytest.mark.parametrize(("name", "encoder"), CASES)
def test_two_processes_get_the_gradient_that_one_gets(name: str, encoder: str, pair: Any) -> None:
    trained(name, encoder)  # skips where it must
    data, _ = prepared(name, encoder)
    losses, alone, end = three_steps(None, name, encoder, data)
    (losses0, first, end0), (losses1, second, end1) = pair(three_steps, name, encoder, data)
    assert losses0 == losses1 == pytest.approx(losses, rel=1e-4, abs=1e-5)
    for one, a, b in zip(alone, first, second, strict=True):
        assert one.keys() == a.keys() == b.keys()
        whole = math.sqrt(sum(float(g.square().sum()) for g in one.values()))
        for key, g in one.items():
            assert torch.equal(a[key], b[key]), key
            assert float((a[key] - g).norm()) <= 5e-4 * max(float(g.norm()), 0.01 * whole), key
    assert end0.keys() == end.keys()
    assert not [key for key in end0 if not torch.equal(end0[key], end1[key])], "the processes hold different tensors"
