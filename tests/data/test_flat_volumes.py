import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.dataset import Unreadable
from manyviews.data.opening import open_data
from manyviews.data.volumes import natural_size
from manyviews.errors import InputError
from manyviews.views import volumes
from manyviews.views.images import plain as picture


def written(root, pictures=("scan/a.png", "eye/b.png", "eye/c.png"), arrays=("scan/v.npy", "scan/x.npy", "eye/w.npy", "eye/u.npy")):
    rng = np.random.default_rng(0)
    for name in (*pictures, *arrays):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(pictures):
        Image.fromarray(np.full((12, 14), 40 * k, np.uint8)).save(root / name)
    for name in arrays:
        np.save(root / name, rng.random((10, 11, 12), dtype=np.float32))
    return root


def test_pictures_are_volumes_of_depth_one_and_a_column_says_so(tmp_path):
    data = open_data(f"{written(tmp_path)}?pictures=yes", "volumes")
    flat = data.columns["flat"]
    assert len(data) == 7 and flat.tolist() == [0, 0, 0, 0, 1, 1, 1] and "3 of them pictures" in data.describe()
    assert data.classes == ["eye", "scan"]
    for i in range(7):
        a = data[i]
        assert a.dtype == np.float32 and a.shape == ((1, 12, 14, 1) if flat[i] else (10, 11, 12, 1)) and 0 <= a.min() <= a.max() <= 1
        assert data.classes[data.labels[i]] == data.name(i).split("/")[0]
    values = {data.name(i): round(float(data[i].max()) * 255) for i in range(4, 7)}
    assert values == {"scan/a.png": 0, "eye/b.png": 40, "eye/c.png": 80}
    assert data.batch(np.array([0, 4])).given["flat"].tolist() == [0, 1]


def test_a_folder_is_read_as_before_where_pictures_are_not_asked_for(tmp_path):
    assert len(open_data(written(tmp_path), "volumes")) == 4
    with pytest.raises(InputError, match="one of spacing, window, fourth, pictures"):
        open_data(f"{tmp_path}?picture=yes", "volumes")


def test_what_cannot_be_read_is_told_and_no_picture_is_an_error(tmp_path):
    written(tmp_path / "both")
    (tmp_path / "both/eye/c.png").write_bytes(b"none")
    data = open_data(f"{tmp_path / 'both'}?pictures=yes", "volumes")
    with pytest.raises(Unreadable, match="not a picture"):
        data[5]
    with pytest.raises(InputError, match="no pictures beside"):
        open_data(f"{written(tmp_path / 'one', pictures=())}?pictures=yes", "volumes")


def test_the_natural_size_is_that_of_the_sides():
    assert natural_size([np.zeros((1, 20, 24, 1)), np.zeros((16, 20, 24, 1))]) == 16


def test_a_picture_is_seen_as_a_picture_is():
    x = torch.rand(3, 1, 24, 24, 1)
    seen = volumes.plain(12)(View(x, torch.arange(3)), Counter(0, 0))["v"]
    expected = picture(12)(View((x[:, 0] * 255).byte(), torch.arange(3)), Counter(0, 0))["v"].x
    assert seen.x.shape == (3, 1, 1, 12, 12) and float((seen.x[:, :, 0] - expected).abs().mean()) < 0.03


@pytest.mark.parametrize("spec", [volumes.weak(8), volumes.strong(8), volumes.local(16)])
def test_pictures_stay_in_their_plane_and_each_sample_is_seen_as_it_is_alone(spec):
    r = torch.Generator().manual_seed(0)
    samples = View([torch.rand(*shape, 1, generator=r) for shape in ((1, 20, 24), (16, 18, 20), (1, 30, 30))], torch.tensor([4, 1, 7]))
    both = spec.apply(samples, Counter(0, 0), ["v"])[0]
    assert both.x.shape[2:] == (spec.size,) * 3 and both.x[[0, 2], :, 1:].isnan().all() and not both.x[1].isnan().any()
    for k in range(3):
        alone = spec.apply(View([samples.x[k]], samples.index[k : k + 1]), Counter(0, 0), ["v"])[0]
        assert torch.allclose(both.x[k, :, : alone.x.shape[2]], alone.x[0], atol=1e-5)
        assert torch.allclose(both.g.geometry.matrix[k], alone.g.geometry.matrix[0], atol=1e-5)
    assert torch.equal(both.g.geometry.matrix[[0, 2], 2], torch.tensor([[0.0, 0.0, 1.0, 0.0]] * 2))


def test_a_view_of_a_picture_shows_what_g_says():
    depth, side = 1, 40
    at = (torch.arange(side) + 0.5) / side
    x = (0.5 + 0.3 * torch.sin(3 * at)[None, :, None] * torch.cos(2 * at)[None, None, :])[..., None].expand(depth, side, side, 1)
    seen = volumes.Block(16, (volumes.Box(0.6, 0.9), volumes.Turn(), volumes.Scale(), volumes.Mirror((0, 1, 2)))).apply(
        View([x], torch.tensor([3])), Counter(0, 2), ["v"]
    )[0]
    axis = torch.arange(16) + 0.5
    z, y, w = torch.meshgrid(torch.tensor([0.5]), axis, axis, indexing="ij")
    back = seen.g.geometry.inverse().act(torch.stack([w, y, z], -1).reshape(1, -1, 3))[0]
    inside = ((back[:, :2] > 1) & (back[:, :2] < side - 1)).all(1)
    expected = 0.5 + 0.3 * torch.sin(3 * back[:, 1] / side) * torch.cos(2 * back[:, 0] / side)
    assert inside.float().mean() > 0.7 and float((seen.x.flatten() - expected)[inside].abs().max()) < 0.01


def test_the_raw_input_has_as_many_numbers_of_either():
    samples = View([torch.rand(1, 12, 12, 1), torch.rand(10, 12, 12, 1)], torch.arange(2))
    both = volumes.plain(8)(samples, Counter(0, 0))["v"]
    alone = volumes.plain(8)(View(samples.x[:1], samples.index[:1]), Counter(0, 0))["v"]
    assert volumes.raw(both).shape == (2, 512) and torch.allclose(volumes.raw(both)[:1], volumes.raw(alone), atol=1e-5)
