"""Configs are read against what their classes take: no false alarm, and errors with the place."""

from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from mman.apis import load_config
from mman.utils import UserError
from mman.utils.build_errors import named_errors
from mman.validation import check_config
from mman.validation.top_level import KNOWN, near_miss
from tests.helpers.config_files import PATHS

_MMPRETRAIN = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
# Usual classifiers of mmpretrain, whose annotations often say less than they take.
_FAMILIES = ('resnet', 'swin_transformer', 'deit', 'mixmim', 'efficientnet', 'conformer', 'hrnet')
# By mistake it has val_dataloader and val_evaluator but no val_cfg, which the Runner refuses; and
# it calls a variable 'pretrained', which is a key here.
_REFUSED = ('resnet50_8xb128_coslr-90e_in21k', 'resnet50_8xb8_cub')


def _pass(paths):
    assert paths
    for path in paths:
        cfg = Config.fromfile(path)
        cfg.setdefault('default_scope', 'mmpretrain')
        try:
            check_config(cfg)
        except UserError as error:
            pytest.fail(f'{path}: {error}')


def test_own_configs_pass():
    _pass(PATHS[::10])


@pytest.mark.skipif(not _MMPRETRAIN.is_dir(), reason='mmpretrain is installed without its configs')
@pytest.mark.parametrize('step', [20, pytest.param(3, marks=pytest.mark.full)])
def test_configs_of_mmpretrain_pass(step):
    paths = [path for family in _FAMILIES for path in sorted((_MMPRETRAIN / family).glob('*.py'))]
    _pass([path for path in paths if path.stem not in _REFUSED][::step])


def test_only_slips_of_known_names_are_refused_at_the_top():
    slips = dict(
        optim_warpper='optim_wrapper',
        train_dataloder='train_dataloader',
        memory_bugdet='memory_budget',
        mdel='model',
    )
    own = ('data_root', 'img_norm_cfg', 'train_pipeline', 'dataset_type', 'norm_cfg', 'seed')
    assert {name: near_miss(name, KNOWN) for name in slips} == slips
    in_use = {name for path in PATHS[::20] for name in Config.fromfile(path)} - set(KNOWN)
    assert not [name for name in (*own, *in_use) if near_miss(name, KNOWN)]


def test_an_error_while_building_shows_the_innermost_config():
    tree = dict(model=dict(type='Sequential', blocks=[dict(type='Conv2d', in_channels=-1)]))

    def line(**kwargs):
        with pytest.raises(UserError) as caught, named_errors(tree, ''):
            MODELS.build(dict(type='Conv2d', in_channels=-1, out_channels=1, **kwargs))
        assert caught.value.__cause__ is not None or 'cannot be used' not in str(caught.value)
        return str(caught.value)

    assert line(kernel_size=1).startswith("model.blocks[0]=dict(type='Conv2d', in_channels=-1")
    assert line() == 'model.blocks[0] lacks kernel_size, which Conv2d needs'
    text = line(kernel_size=1, strid=2)
    assert text.startswith("model.blocks[0] has the unknown key 'strid'")
    assert text.endswith("did you mean 'stride'?")


def test_modules_that_fail_say_why(tmp_path, monkeypatch):
    """The one that is missing, not the one that asks for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'asking_module.py').write_text('import missing_module\n')
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['asking_module'])\n")
    with pytest.raises(UserError, match="custom_imports.*No module named 'missing_module'"):
        load_config('config.py')


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
