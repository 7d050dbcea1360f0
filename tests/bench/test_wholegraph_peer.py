import sys

import pytest
import torch

from torch_direct.bench.wholegraph import why_absent


def test_says_why_it_is_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_absent() == "needs a GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "pylibwholegraph", None)
    assert "cannot be imported" in why_absent()


@pytest.mark.gpu
def test_the_library_itself_where_it_is_installed():
    pytest.importorskip("pylibwholegraph.torch.tensor")
    assert why_absent() is None
