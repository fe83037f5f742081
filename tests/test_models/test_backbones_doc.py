"""The examples in docs/backbones.md do what it says."""

import copy
import re
from pathlib import Path

import pytest

from mman.models import LocalImageClassifier
from mman.models.splitters.adapters import find_adapter
from mman.registry import MODELS, UNIT_ADAPTERS
from tests.helpers.cutting import check_units

BLOCKS = re.findall(r'```python\n(.*?)```', Path('docs/backbones.md').read_text(), re.DOTALL)
CONFIGS = [block for block in BLOCKS if 'model = dict(' in block]
ADAPTERS = [block for block in BLOCKS if 'UNIT_ADAPTERS' in block]


@pytest.fixture
def adapters(monkeypatch):
    """What the document registers, for the time of a test."""
    monkeypatch.setattr(UNIT_ADAPTERS, '_module_dict', dict(UNIT_ADAPTERS.module_dict))
    names = {}
    for block in ADAPTERS:
        exec(block, names)


@pytest.mark.parametrize('block', CONFIGS, ids=['timm', 'torchvision'])
def test_configs(block):
    names = {}
    exec(block, names)
    model = MODELS.build(copy.deepcopy(names['model']))
    assert isinstance(model, LocalImageClassifier)
    assert model.num_blocks == 4


@pytest.mark.parametrize(
    ('cfg', 'name'),
    [
        (dict(type='MobileNetV3', arch='small'), 'MobileNetV3'),
        (dict(type='TIMMBackbone', model_name='test_vit_relpos'), 'timm.VisionTransformerRelPos'),
    ],
)
def test_adapters(adapters, cfg, name):
    backbone = MODELS.build(cfg)
    assert find_adapter(backbone) is UNIT_ADAPTERS.module_dict[name]
    units = check_units(backbone, 160)
    assert len(units) > 4
