"""Shared by the tests of the data sets: no network, and mman's names."""

import urllib.error
import urllib.request

import pytest
from mmengine.registry import DefaultScope

import mman  # noqa: F401
import mman.datasets  # noqa: F401


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every download fails as on a machine without a network; lists the URLs."""
    asked = []

    def refuse(request, *args, **kwargs):
        asked.append(getattr(request, 'full_url', request))
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', refuse)
    return asked


@pytest.fixture
def mman_scope():
    with DefaultScope.overwrite_default_scope('mman'):
        yield
