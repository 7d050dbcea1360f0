"""Graphs in CSC form: how they are made, checked, placed and stored."""

from __future__ import annotations

from torch_direct.graph.graph import Graph
from torch_direct.graph.hetero import EdgeType, HeteroGraph
from torch_direct.graph.progress import Progress

__all__ = ["EdgeType", "Graph", "HeteroGraph", "Progress"]
