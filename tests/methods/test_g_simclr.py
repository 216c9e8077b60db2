import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gloo_pair import Pair
from small_encoder import PatchEncoder, part, two_views, without_gradient

from manyviews.contracts import Stage, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.contrast.g_simclr import Autoencoder, GSimCLR
from manyviews.train.samplers import batch_rows, shuffled


def make(clusters: int = 4, **settings: Any) -> GSimCLR:
    return GSimCLR(PatchEncoder(), hidden=10, bottleneck=7, out=5, clusters=clusters, width=2, **settings)


def slow(za: torch.Tensor, zb: torch.Tensor, temperature: float) -> float:
    """The paper's loss, one sample after the other: its other view against all other views of the batch."""
    z = torch.cat([za, zb]).double()
    z = z / z.norm(dim=1, keepdim=True)
    n, cost = len(za), 0.0
    for i in range(2 * n):
        similar = [math.exp(float(z[i] @ z[j]) / temperature) for j in range(2 * n)]
        cost -= math.log(similar[(i + n) % (2 * n)] / (sum(similar) - similar[i]))
    return cost / (2 * n)


def repeats(order: np.ndarray, label: np.ndarray, batch: int) -> int:
    """How many samples follow one of their pseudo-class in the same batch."""
    return sum(batch - len({*label[order[k : k + batch]]}) for k in range(0, len(order) - batch + 1, batch))


# --- the loss ---------------------------------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_paper() -> None:
    method, (v, w) = make(temperature=0.3).eval(), two_views(6)
    za, zb = (method.projector(method.encoder(view)) for view in (v, w))
    assert math.isclose(method.loss(v, w)["loss"].item(), slow(za, zb, 0.3), rel_tol=1e-5)


def test_the_defaults_are_the_papers() -> None:
    method = GSimCLR(PatchEncoder())
    assert [tuple(p.shape) for p in method.projector.parameters() if p.ndim == 2] == [(256, 6), (128, 256), (50, 128)]
    assert (method.temperature, method.clusters, method.autoencoder.noise) == (0.1, 64, 0.01)
    assert [layer[0].out_channels for layer in (*method.autoencoder.down, *method.autoencoder.up)] == [32, 64, 128, 128, 64, 32]


def test_the_share_of_samples_beside_one_of_their_pseudo_class_is_told_and_has_no_gradient() -> None:
    (v, w), method = two_views(6), make()
    for label, share in (([0, 1, 2, 3, 4, 5], 0.0), ([0, 0, 1, 2, 3, 3], 4 / 6), ([7] * 6, 1.0)):
        terms = method.loss(View(v.x, v.index, given={"pseudo_label": torch.tensor(label)}), w)
        assert terms["beside_its_like"].item() == pytest.approx(share) and not terms["beside_its_like"].requires_grad
    assert set(method.loss(v, w)) == {"loss"}


def terms_of_a_part(fabric: Any) -> float:
    v, w = two_views(6)
    v = View(v.x, v.index, given={"pseudo_label": torch.tensor([0, 1, 2, 2, 1, 3])})
    rows = slice(3 * fabric.global_rank, 3 * fabric.global_rank + 3)
    return make().loss(part(v, rows), part(w, rows))["beside_its_like"].item()


def test_pseudo_classes_are_compared_over_all_processes(pair: Pair) -> None:
    assert pair(terms_of_a_part) == pytest.approx([2 / 3, 2 / 3])


def test_only_encoder_and_projector_are_trained() -> None:
    method = make()
    assert all(name.startswith("autoencoder") for name in without_gradient(method, *two_views(9)))
    assert not any(p.requires_grad for p in method.autoencoder.parameters())


# --- the batches ------------------------------------------------------------------------------------------------------------------------------


def test_with_equal_clusters_a_batch_has_one_sample_of_each() -> None:
    label = np.arange(40) % 8
    for epoch in range(3):
        for rows in make(8).sampler(40, {"pseudo_label": label}, 0, epoch).reshape(5, 8):
            assert sorted(label[rows]) == list(range(8))


def test_any_smaller_batch_that_divides_the_clusters_has_no_two_of_one_either() -> None:
    label = np.random.default_rng(0).permutation(np.arange(48) % 8)
    order = make(8).sampler(48, {"pseudo_label": label}, 0, 0)
    assert [repeats(order, label, batch) for batch in (8, 4, 2)] == [0, 0, 0]
    assert repeats(shuffled(48, {}, 0, 0), label, 4) > 0


@pytest.mark.parametrize("seed", range(5))
def test_with_unequal_clusters_no_order_of_all_rows_has_fewer_of_one_class_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.choice(8, 80, p=rng.dirichlet(np.full(8, 2.0)))
    counts = np.bincount(label, minlength=8)
    order = make(8).sampler(80, {"pseudo_label": label}, seed, 0)
    assert sorted(order) == list(range(80))
    assert repeats(order, label, 8) == np.maximum(counts - 10, 0).sum()  # a class of more rows than there are batches must be in one twice
    for c, count in enumerate(counts):
        assert {(label[rows] == c).sum() for rows in order.reshape(10, 8)} <= {count // 10, -(-count // 10)}


def test_taking_the_clusters_row_by_row_as_the_papers_code_does_never_keeps_them_further_apart() -> None:
    for seed in range(5):
        label = np.random.default_rng(seed).choice(8, 80, p=np.arange(1, 9) / 36)
        number = np.array([(label[:i] == label[i]).sum() for i in range(80)])  # of each row within its cluster
        theirs = np.lexsort((label, number))
        assert repeats(make(8).sampler(80, {"pseudo_label": label}, 0, 0), label, 8) <= repeats(theirs, label, 8)


def test_every_row_is_shown_once_an_epoch_in_another_order_each_time_and_the_same_for_the_same_epoch() -> None:
    label = np.random.default_rng(0).integers(0, 5, 43)
    orders = [make(8).sampler(43, {"pseudo_label": label}, seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(43)) for order in orders)
    assert np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], orders[2]) and not np.array_equal(orders[0], orders[3])
    assert {*orders[0][40:]} != {*orders[2][40:]}, "what is left over differs between epochs"


def test_the_partners_of_a_sample_in_its_batch_change_from_epoch_to_epoch() -> None:
    label, method = np.arange(64) % 8, make(8)
    partners = set()
    for epoch in range(30):
        batches = method.sampler(64, {"pseudo_label": label}, 0, epoch).reshape(8, 8)
        partners |= {*batches[(batches == 0).any(1)][0]}
    assert len(partners) > 50  # of the 57 that may be


def test_the_loop_makes_its_batches_by_the_sampler() -> None:
    label = np.arange(32) % 8
    batches: Iterator[np.ndarray] = batch_rows(32, {"pseudo_label": label}, 8, 0, 0, 8, 0, 1, make(8).sampler)
    assert all(len({*label[rows]}) == 8 for rows in batches)


def test_one_cluster_and_too_few_rows_leave_batches_to_chance() -> None:
    assert np.array_equal(make(1).sampler(20, {}, 3, 4), shuffled(20, {}, 3, 4))
    assert np.array_equal(make(21).sampler(20, {}, 3, 4), shuffled(20, {}, 3, 4))
    assert make(1).autoencoder is None


def test_without_the_column_there_are_no_batches_and_the_way_out_is_told() -> None:
    with pytest.raises(InputError, match=r"pseudo_label.*first stage.*pretrain"):
        make(4).sampler(20, {}, 0, 0)


# --- the first stage --------------------------------------------------------------------------------------------------------------------------


class Data:
    """Rows with columns, as far as stages look at them."""

    def __init__(self, rows: int, **columns: np.ndarray):
        self.rows, self.columns = rows, columns

    def __len__(self) -> int:
        return self.rows


class Tools:
    """Two far groups of latents; remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def embed(self, encoder: Any, data: Data) -> np.ndarray:
        return np.random.default_rng(0).normal(0, 0.1, (len(data), 3)) + 5 * (np.arange(len(data)) % 3 == 0)[:, None]

    def weights(self, module: torch.nn.Module) -> str:
        return "hash"

    def derive(self, data: Data, name: str, compute: Any) -> Data:
        self.names.append(name)
        return Data(len(data), **data.columns, **compute(data))


def test_the_autoencoder_is_trained_alone_and_then_no_more_and_its_clusters_become_a_column() -> None:
    method, tools, trained = make(2, autoencoder=0.7), Tools(), []
    stages: list[Stage] = []
    for stage in method.stages(Data(12), tools):
        stages.append(stage)
        trained.append({name.split(".")[0] for name, p in stage.trainable.named_parameters() if p.requires_grad})
        for p in stage.trainable.parameters():
            p.grad = torch.ones_like(p)
    assert [(stage.name, stage.trainable, stage.share) for stage in stages] == [("autoencoder", method.autoencoder, 0.7), ("", method, 1.0)]
    assert trained == [{"down", "up", "last"}, {"encoder", "projector"}]
    label = stages[1].data.columns["pseudo_label"]
    assert len({*label}) == 2 and np.array_equal(label == label[0], np.arange(12) % 3 == 0)
    assert tools.names == ["g_simclr/2/hash"]


def test_nothing_is_left_of_the_autoencoders_gradients_when_the_method_trains() -> None:
    method = make(2)
    for stage in method.stages(Data(12), Tools()):
        if stage.trainable is method:
            assert all(p.grad is None for p in method.parameters())
        else:
            stage.trainable.loss(two_views(12)[0])["restoration"].backward()
            assert all(p.grad is not None for p in method.autoencoder.parameters())


def test_there_are_never_more_clusters_than_rows() -> None:
    *_, last = make(64).stages(Data(5), Tools())
    assert sorted(last.data.columns["pseudo_label"]) == list(range(5))


@pytest.mark.parametrize(("clusters", "columns"), [(1, {}), (4, {"pseudo_label": np.zeros(5)})])
def test_data_that_brings_pseudo_labels_and_batches_by_chance_need_no_autoencoder(clusters: int, columns: dict[str, np.ndarray]) -> None:
    data, method = Data(5, **columns), make(clusters)
    (stage,) = method.stages(data, None)
    assert stage.trainable is method and stage.data is data


def test_the_autoencoder_restores_the_picture_without_the_noise() -> None:
    autoencoder, v = Autoencoder(3, 2, noise=0.5).eval(), two_views(4)[0]
    shown: list[torch.Tensor] = []
    autoencoder.down[0].register_forward_pre_hook(lambda _, x: shown.append(x[0]))
    out: list[torch.Tensor] = []
    autoencoder.last.register_forward_hook(lambda _module, _x, y: out.append(y))
    loss = autoencoder.loss(v)["restoration"]
    expected = sum((float(a) - float(b)) ** 2 for a, b in zip(out[0].sigmoid().flatten(), v.x.flatten(), strict=True)) / v.x.numel()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    noise = (shown[0] - v.x) / 0.5
    assert abs(float(noise.mean())) < 0.2 and 0.85 < float(noise.std()) < 1.15
    autoencoder(v)
    assert torch.equal(shown[1], v.x), "what is clustered is seen without noise"


def test_the_noise_depends_on_the_sample_and_the_step_and_not_on_the_order() -> None:
    autoencoder, v = Autoencoder(3, 2, noise=0.5).eval(), two_views(6)[0]
    order = torch.randperm(6)
    value = autoencoder.loss(v)["restoration"]
    torch.testing.assert_close(autoencoder.loss(View(v.x[order], v.index[order]))["restoration"], value)
    autoencoder.counter = Counter(0, 1)
    assert autoencoder.loss(v)["restoration"] != value


@pytest.mark.parametrize("sides", [(8, 8), (13, 7), (33, 20)])
def test_pictures_of_any_size_are_restored_from_an_eighth_of_their_side(sides: tuple[int, int]) -> None:
    autoencoder = Autoencoder(4, 2, noise=0.0)
    view = View(torch.rand(2, 4, *sides), torch.arange(2))
    middle, _ = autoencoder.encode(view.x)
    assert middle.shape == (2, 8, *(-(-side // 8) for side in sides))
    torch.testing.assert_close(autoencoder.eval()(view), autoencoder.encode(view.x)[0].mean((2, 3)))
    assert math.isfinite(autoencoder.loss(view)["restoration"])


def test_the_autoencoder_learns_to_restore() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder(3, 8, noise=0.05)
    colours = torch.rand(16, 3, 1, 1).expand(16, 3, 8, 8)
    view, optimizer = View(colours, torch.arange(16)), torch.optim.Adam(autoencoder.parameters(), 1e-2)
    losses = []
    for step in range(40):
        autoencoder.counter = Counter(0, step)
        losses.append(autoencoder.loss(view)["restoration"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


# --- what is refused --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"temperature": 0.0}, "temperature=0.0"), ({"clusters": 0}, "clusters=0"), ({"noise": -1.0}, "noise=-1.0"), ({"autoencoder": 0.0}, "autoencoder=0.0")],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        GSimCLR(PatchEncoder(), **settings)


def test_an_encoder_that_takes_no_pictures_is_refused_unless_nothing_is_clustered() -> None:
    encoder = PatchEncoder()
    encoder.model.patch_embed = torch.nn.Identity()
    with pytest.raises(InputError, match="clusters=1"):
        GSimCLR(encoder)
    assert GSimCLR(encoder, clusters=1).autoencoder is None
