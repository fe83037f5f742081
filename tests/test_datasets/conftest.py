"""Shared by the tests of the data sets: no network, and mman's names."""

import urllib.error

import pytest
from mmengine.registry import DefaultScope

import mman  # noqa: F401
import mman.datasets  # noqa: F401


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every download fails as on a machine without a network; lists the URLs."""
    asked = []

    def refuse(request, *args, **kwargs):
        asked.append(request.full_url)
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('torch.hub.urlopen', refuse)
    return asked


@pytest.fixture
def mman_scope():
    with DefaultScope.overwrite_default_scope('mman'):
        yield
