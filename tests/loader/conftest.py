"""The loaders need PyG."""

from __future__ import annotations

import pytest

pytest.importorskip("torch_geometric")
