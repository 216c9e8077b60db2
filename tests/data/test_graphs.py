"""Graphs: what files say becomes graphs with edges both ways, and what is wrong is said with its place."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from manyviews.data import graphs
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.graph_batch import Graph
from manyviews.data.graph_pickles import content
from manyviews.data.graphs import DEGREES, by_name, looks_like_graphs, natural_size, open_graphs
from manyviews.data.opening import open_data
from manyviews.errors import InputError


@pytest.fixture
def write(tmp_path: Path):
    def write(**files: str) -> Path:
        for name, words in files.items():
            (tmp_path / name.replace("__", ".")).write_text(words)
        return tmp_path

    return write


def tu(write, **changes: str) -> Path:
    """Three graphs: a triangle, a pair, a lone node; kinds of nodes, and kinds of edges."""
    files = {
        "DS_A": "1, 2\n2, 1\n2, 3\n3, 2\n1, 3\n3, 1\n4, 5\n5, 4\n", "DS_graph_indicator": "1\n1\n1\n2\n2\n3\n", "DS_graph_labels": "1\n-1\n1\n",
        "DS_node_labels": "3\n4\n3\n5\n5\n3\n", "DS_edge_labels": "0\n0\n1\n1\n0\n0\n2\n2\n",
    }  # fmt: skip
    return write(**{f"{name}__txt": text for name, text in {**files, **changes}.items() if text})


def pairs(graph: Graph) -> set[tuple[int, int]]:
    return set(map(tuple, graph.edges.T.tolist()))


def test_text_files_of_many_graphs_are_read(write):
    folder = tu(write)
    assert looks_like_graphs(folder)
    data = open_graphs(folder)
    assert len(data) == 3 and data.channels == 3 and data.classes == ["-1", "1"] and list(data.labels) == [1, 0, 1]
    assert pairs(data[0]) == {(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)} and data[2].edges.shape == (2, 0)
    assert data[0].x.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]] and data[1].edge_x.tolist() == [[0, 0, 1]] * 2
    assert data.form == {"samples": "graphs", "weighted": False, "edges": 3}
    batch = data.batch(np.array([2, 0, 1])).x
    assert batch.owner.tolist() == [0, 1, 1, 1, 2, 2] and batch.number.tolist() == [0, 0, 1, 2, 0, 1] and batch.roots is None and len(batch) == 3
    assert batch.edges[:, -2:].tolist() == [[4, 5], [5, 4]] and batch.edge_x.shape == (8, 3) and natural_size(data.look(3)) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DS_A": "1, 2\n2, 9\n"}, r"DS_A.txt, line 2: there is no such node; there are 6"),
        ({"DS_A": "1, 2\n2, x\n"}, r"DS_A.txt, line 2: '2,x' is not numbers"),
        ({"DS_A": "1, 2\n2\n"}, r"DS_A.txt, line 2: 1 numbers, expected 2"),
        ({"DS_graph_labels": "1\n1\n"}, r"DS_graph_labels.txt has 2 lines for 3 graphs"),
        ({"DS_node_labels": "1\n"}, r"DS_node_labels.txt has 1 lines for 6 nodes"),
    ],
)
def test_what_is_wrong_in_a_text_file_is_named_with_its_line(write, changes, message):
    with pytest.raises(InputError, match=message):
        open_graphs(tu(write, **changes))


def test_a_graph_with_an_edge_to_another_is_put_aside(write):
    data = open_graphs(tu(write, DS_A="1, 2\n2, 1\n4, 6\n", DS_edge_labels=""))
    assert len(data[0]) == 3 and set(data.bad) == {1, 2}
    with pytest.raises(Unreadable, match="joins it to another"):
        data[1]


def test_nodes_of_a_graph_need_not_lie_together(write):
    data = open_graphs(tu(write, DS_A="1, 3\n3, 1\n2, 4\n4, 2\n", DS_graph_indicator="1\n2\n1\n2\n1\n3\n", DS_edge_labels=""))
    assert [len(data[k]) for k in range(3)] == [3, 2, 1] and pairs(data[0]) == {(0, 1), (1, 0)} == pairs(data[1])
    assert data[0].x.argmax(1).tolist() == [0, 0, 2]


NODES = "node,a,b,label,split\nx,1,0,red,train\ny,0,2,blue,train\nz,1,1,red,test\nlone,0,0,,test\n"


def test_nodes_and_edges_of_one_graph_are_read(write):
    folder = write(nodes__csv=NODES, edges__csv="source,target,weight\nx,y,2\ny,x,5\nz,z,1\nx,y,7\n")
    data = open_graphs(folder)
    assert len(data) == 4 and data.classes == ["blue", "red"] and data.labels.tolist() == [1, 0, 1, -1] and data.name(3) == "lone"
    assert "1 loop left out" in data.describe() and "1 repeated edge left out" in data.describe()
    batch = data.batch(np.array([3, 0])).x
    assert batch.x.tolist() == [[1, 0], [0, 2], [1, 1], [0, 0]] and batch.edges.tolist() == [[0, 1], [1, 0]] and batch.roots.tolist() == [3, 0]
    assert batch.weight.tolist() == [2, 5] and len(batch) == 2 and batch.graphs == 1
    assert batch.columns["label"].tolist() == [1, 0, -1, -1] and batch.columns["train"].tolist() == [True, True, False, False]
    assert (data.columns["split"] == ["train", "train", "test", "test"]).all()


def test_labels_that_are_not_for_training_do_not_travel(write):
    data = open_graphs(write(nodes__csv=NODES, edges__csv="source,target\nx,y\n"))
    test = data.select(np.array([2, 3]))
    assert (test.batch(np.arange(2)).x.columns["label"][2:] == -1).all() and test.batch(np.arange(2)).given["label"].tolist() == [1, -1]


def test_nodes_of_many_graphs_are_read_from_tables(write):
    folder = write(nodes__csv="graph,node,a\ng2,x,1\ng1,x,2\ng1,y,3\n", edges__csv="graph,source,target\ng1,x,y\n", graphs__csv="graph,label\ng2,no\ng1,yes\n")
    data = open_graphs(folder)
    assert len(data) == 2 and [data.name(k) for k in range(2)] == ["g1", "g2"] and [data.classes[k] for k in data.labels] == ["yes", "no"]
    assert data[0].x.tolist() == [[2], [3]] and pairs(data[0]) == {(0, 1), (1, 0)} and data[1].x.tolist() == [[1]]


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        (NODES, "source,target\nx,nobody\n", "edges.csv, line 2: nodes.csv has no such node"),
        (NODES, "source,there\nx,y\n", "edges.csv has no column 'target'"),
        (NODES + "x,1,1,red,train\n", "source,target\nx,y\n", "the node 'x' is there 2 times"),
        (NODES.replace("1,0,red", "tall,0,red"), "source,target\nx,y\n", "features are numbers, and 'a' holds texts"),
        (NODES.replace("1,0,red", "nan,0,red"), "source,target\nx,y\n", r"1 nodes have features that are no finite numbers \(x\)"),
    ],
)
def test_what_is_wrong_in_a_table_is_said(write, nodes, edges, message):
    with pytest.raises(InputError, match=message):
        open_graphs(write(nodes__csv=nodes, edges__csv=edges))


def citation(path: Path) -> Path:
    """Ten nodes in a ring with three splits, packed features, and a repeated edge and a loop."""
    ring = np.stack([np.arange(10), (np.arange(10) + 1) % 10], 1)
    features = np.eye(10, dtype=np.uint8)
    splits = np.stack([np.roll([1] * 6 + [2] * 2 + [3] * 2, k) for k in range(3)]).astype(np.int8)
    np.savez(
        path, x=np.packbits(features, axis=1), n_features=10, edges=np.concatenate([ring, ring[:1, ::-1], [[4, 4]]]), label=np.arange(10) % 2, split=splits
    )
    return path


def test_one_of_several_published_splits_is_chosen(tmp_path):
    path = citation(tmp_path / "ring.npz")
    first, third = open_graphs(path), open_graphs(f"{path}?split=2")
    assert looks_like_graphs(path) and (np.roll(first.columns["split"], 2) == third.columns["split"]).all() and "split 2 of 3" in third.describe()
    assert first[0].whole.graph.x.tolist() == np.eye(10).tolist()
    with pytest.raises(InputError, match="split=3: there are 3, from 0"):
        open_graphs(f"{path}?split=3")


def test_folds_are_taken_where_they_are_asked_for(tmp_path):
    path = tmp_path / "many.npz"
    np.savez(
        path, node_off=[0, 2, 5], edge_off=[0, 2, 5], edges=[[0, 1], [1, 0], [0, 2], [2, 0], [1, 7]], node_tag=[0, 1, 0, 0, 2], label=[0, 1], fold10=[0, 1]
    )
    data = open_graphs(path)
    assert "split" not in data.columns and "2 folds are published" in data.describe() and set(data.bad) == {1} and data[0].x.shape == (2, 3)
    assert list(open_graphs(f"{path}?split=1").columns["split"]) == ["train", "test"]
    assert open_graphs(f"{path}?features=degree").channels == DEGREES
    with pytest.raises(InputError, match="features=given: there are none; there is kinds, degree"):
        open_graphs(f"{path}?features=given")


@pytest.mark.parametrize("words", ["splt=1", "split=x", "features=odd", "directed=maybe", "split"])
def test_words_that_are_not_known_are_refused(tmp_path, words):
    with pytest.raises(InputError):
        open_graphs(f"{citation(tmp_path / 'ring.npz')}?{words}")


def test_edges_keep_their_direction_where_asked(tmp_path):
    data = open_graphs(f"{citation(tmp_path / 'ring.npz')}?directed=yes")
    assert data[0].whole.graph.edges.shape == (2, 11)  # ten around and one back


def test_edges_beyond_the_nodes_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2)), edges=[[0, 1], [1, 3]])
    with pytest.raises(InputError, match=r"edge 1 joins nodes 1 and 3, and there are 3 \(1 such\)"):
        open_graphs(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"PK no")
    with pytest.raises(InputError, match="cannot be read as arrays"):
        open_graphs(tmp_path / "b.npz")


def test_graphs_that_cannot_be_used_are_put_aside():
    x = np.ones((4, 2), np.float32)
    x[3, 1] = np.nan
    store = graphs.Many(x, np.array([[0, 1], [1, 0]]), None, np.array([0, 2, 2, 4]), (), "three", {})
    data = Data(store, graphs.decode, "graphs", channels=2, collate=graphs.Union(2))
    assert len(data[0]) == 2
    for row, reason in ((1, "without nodes"), (2, "no finite number")):
        with pytest.raises(Unreadable, match=reason):
            data[row]
    with pytest.raises(Unreadable, match="have 2 features, and 5 are expected"):
        data.in_channels(5)[0]


def planetoid(folder: Path, evil: bool = False) -> Path:
    """Six nodes as the original files say them: two for training, node 4 without features, two for testing."""
    from scipy.sparse import csr_matrix

    x = np.eye(6, dtype=np.float32)
    y = np.eye(2, dtype=np.int32)[[0, 1, 0, 1, 0, 1]]
    parts = {"x": csr_matrix(x[:2]), "y": y[:2], "allx": csr_matrix(x[:3]), "ally": y[:3], "tx": csr_matrix(x[[5, 3]]), "ty": y[[5, 3]]}
    parts["graph"] = {k: [(k + 1) % 6, (k + 1) % 6] for k in range(6)}
    for name, part in parts.items():
        (folder / f"ind.toy.{name}").write_bytes(pickle.dumps(part, protocol=2))
    (folder / "ind.toy.test.index").write_text("5\n3\n")
    if evil:
        (folder / "ind.toy.graph").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    return folder


def test_the_original_files_of_planetoid_are_read_without_running_them(tmp_path):
    data = open_graphs(planetoid(tmp_path))
    assert data[0].whole.graph.x.tolist() == [*np.eye(6)[:4].tolist(), [0] * 6, [0, 0, 0, 0, 0, 1]]
    assert data.labels.tolist() == [0, 1, 0, 1, -1, 1] and list(data.columns["split"]) == ["train", "train", "validation", "test", "validation", "test"]
    assert data[0].whole.graph.edges.shape == (2, 12)


def test_a_pickle_that_wants_more_than_numbers_is_refused(tmp_path):
    with pytest.raises(InputError, match="asks for os.system"):
        open_graphs(planetoid(tmp_path, evil=True))
    for harmful in (b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nload\n(S'x'\ntR.", b"not a pickle", b""):
        (tmp_path / "a").write_bytes(harmful)
        with pytest.raises(InputError):
            content(tmp_path / "a")
    (tmp_path / "a").write_bytes(pickle.dumps(np.array([{"an": "object"}]), protocol=2))
    with pytest.raises(ValueError, match="no kind of number"):
        graphs.graph_sets.graph_pickles.array(content(tmp_path / "a"))


def test_sets_are_found_by_name_below_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    (tmp_path / "deep/er").mkdir(parents=True)
    citation(tmp_path / "deep/er/Ring_10.npz")
    planetoid(tmp_path)
    assert len(by_name("ring10")) == 10 and list(by_name("RING-10?split=1").columns["split"][:1]) == ["test"] and len(by_name("toy")) == 6
    citation(tmp_path / "other.npz")
    with pytest.raises(InputError, match="has several sets; name one of them, as in .name=other: other, toy"):
        open_graphs(tmp_path)
    assert len(open_graphs(f"{tmp_path}?name=toy")) == 6
    with pytest.raises(InputError, match="has no set 'thing'; there is other, toy"):
        open_graphs(f"{tmp_path}?name=thing")
    with pytest.raises(InputError, match="no graphs at"):
        open_graphs(tmp_path / "nothing.npz")


def test_networks_are_read_where_networkx_is(tmp_path):
    networkx = pytest.importorskip("networkx")
    graph = networkx.path_graph(4)
    for k in graph:
        graph.nodes[k].update(label="ab"[k % 2], size=k / 2)
    networkx.write_graphml(graph, tmp_path / "path.graphml")
    data = open_graphs(tmp_path / "path.graphml")
    assert looks_like_graphs(tmp_path / "path.graphml") and data.classes == ["a", "b"] and data[0].whole.graph.x.ravel().tolist() == [0, 0.5, 1, 1.5]


def test_a_graph_by_name_is_found_whether_its_modality_is_said_or_not(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "nodes.csv").write_text("id,x,label\na,1,0\nb,2,1\nc,3,0\n")
    (tmp_path / "tiny" / "edges.csv").write_text("source,target\na,b\nb,c\n")
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    assert len(open_data("graph:tiny")) == len(open_data("graph:tiny", "graphs")) == 3
