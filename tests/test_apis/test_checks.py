"""Configs are read against what their classes take: no false alarm, and errors with the place."""

from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from mman.apis.checks.runner import check_config
from mman.apis.checks.top_level import KNOWN, near_miss
from mman.utils import UserError
from mman.utils.build_errors import named_errors
from tests.helpers.config_files import PATHS, config_id

_MMPRETRAIN = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
# Usual classifiers of mmpretrain, whose annotations often say less than they take.
_FAMILIES = ('resnet', 'swin_transformer', 'deit', 'mixmim', 'efficientnet', 'conformer', 'hrnet')
# By mistake it has val_dataloader and val_evaluator but no val_cfg, which the Runner refuses; and
# it calls a variable 'pretrained', which is a key here.
_REFUSED = ('resnet50_8xb128_coslr-90e_in21k', 'resnet50_8xb8_cub')


@pytest.mark.parametrize('path', PATHS[::4], ids=config_id)
def test_own_configs_pass(path):
    check_config(Config.fromfile(path))


@pytest.mark.skipif(not _MMPRETRAIN.is_dir(), reason='mmpretrain is installed without its configs')
@pytest.mark.parametrize('family', _FAMILIES)
def test_configs_of_mmpretrain_pass(family):
    paths = sorted((_MMPRETRAIN / family).glob('*.py'))
    paths = [path for path in paths if path.stem not in _REFUSED]
    assert paths
    for path in paths[::3]:
        cfg = Config.fromfile(path)
        cfg.setdefault('default_scope', 'mmpretrain')
        check_config(cfg)


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('optim_warpper', 'optim_wrapper'),
        ('train_dataloder', 'train_dataloader'),
        ('memory_bugdet', 'memory_budget'),
        ('mdel', 'model'),
        ('data_root', None),
        ('img_norm_cfg', None),
        ('train_pipeline', None),
        ('dataset_type', None),
        ('norm_cfg', None),
        ('seed', None),
    ],
)
def test_only_slips_of_known_names_are_refused_at_the_top(key, meant):
    assert near_miss(key, KNOWN) == meant


def test_no_known_name_is_a_slip_of_another_variable_in_use():
    names = {name for path in PATHS[::10] for name in Config.fromfile(path)}
    assert not {name for name in names - set(KNOWN) if near_miss(name, KNOWN)}


def test_an_error_while_building_shows_the_innermost_config():
    tree = dict(model=dict(type='Sequential', blocks=[dict(type='Conv2d', in_channels=-1)]))
    with pytest.raises(UserError) as caught, named_errors(tree, ''):
        MODELS.build(dict(type='Conv2d', in_channels=-1, out_channels=1, kernel_size=1))
    text = str(caught.value)
    assert text.startswith("model.blocks[0]=dict(type='Conv2d', in_channels=-1")
    assert '\n' not in text
    assert caught.value.__cause__ is not None


def test_a_type_whose_module_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'failing_module.py').write_text("raise OSError('no such drive')\n")
    cfg = Config.fromfile('configs/bp/resnet20_digits.py')
    cfg.model.neck = dict(type='failing_module.Neck')
    with pytest.raises(UserError, match=r'model\.neck\.type=.*OSError: no such drive'):
        check_config(cfg)


@pytest.mark.parametrize('value', [0, -7, 2.0])
def test_a_number_of_classes_that_is_none(value):
    cfg = Config.fromfile('configs/bp/resnet20_digits.py')
    cfg.model.head.num_classes = value
    with pytest.raises(UserError, match=rf'model\.head\.num_classes={value} (of \w+ )?should be'):
        check_config(cfg)


def test_samples_without_an_end_where_an_end_is_waited_for():
    cfg = Config.fromfile('configs/bp/resnet20_digits.py')
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')
    with pytest.raises(UserError, match=r"^train_.*\.type='InfiniteSampler' never ends.*by_epoch"):
        check_config(cfg)
    cfg.train_cfg = dict(by_epoch=False, max_iters=3)
    check_config(cfg)
    cfg.val_dataloader.sampler = dict(type='mmengine.InfiniteSampler')
    with pytest.raises(UserError, match=r"^val_dataloader\.sampler.*ValLoop.*'DefaultSampler'$"):
        check_config(cfg)
