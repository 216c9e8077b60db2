"""Neighbours as a table, one row a node, from a list of edges."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from manyviews.errors import InputError


def neighbour_table(edges: Int[Tensor, "2 edges"], nodes: int) -> tuple[Int[Tensor, "1 nodes near"], Bool[Tensor, "1 nodes near"]]:
    """Whom each node of one graph (or of a batch as one) hears, and which entries are real, from edges with senders above receivers.

    Every node also hears itself. The table is as wide as the largest number of neighbours; what is left of a row names node 0 and is not there.
    """
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        raise InputError(f"edges between nodes {int(edges.min())} and {int(edges.max())} of a graph of {nodes}: nodes count from 0 to {nodes - 1}")
    own = torch.arange(nodes, device=edges.device)
    send, hear = torch.cat([edges[:, edges[0] != edges[1]], own.expand(2, -1)], 1)
    order = hear.argsort(stable=True)
    send, hear, counts = send[order], hear[order], hear.bincount(minlength=nodes)
    place = torch.arange(len(hear), device=edges.device) - (counts.cumsum(0) - counts)[hear]
    rows = torch.zeros(nodes, int(counts.max()), dtype=torch.long, device=edges.device)
    rows[hear, place] = send
    return rows[None], (torch.arange(rows.shape[1], device=edges.device) < counts[:, None])[None]
