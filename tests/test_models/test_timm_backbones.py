"""Models of timm, cut by their layers in a row or by an adapter for their class."""

import subprocess
import sys

import pytest
import torch

from mman.models.splitters import LocalBlockSplitter, Unit
from mman.models.splitters.adapters import adapter_names, find_adapter
from mman.registry import MODELS, UNIT_ADAPTERS
from mman.utils import UserError
from tests.helpers.cutting import POOL, build, check_network, check_units, classifier_cfg
from tests.helpers.settings import in_tiers

CLASS_TOKEN = dict(type='TokenPooling')
MEAN = dict(type='TokenPooling', how='mean')
VIT = dict(img_size=16, patch_size=4, embed_dim=24, depth=5, num_heads=2)
SWIN = dict(img_size=32, window_size=2, embed_dim=8, depths=(1, 1, 2), num_heads=(1, 2, 2))
DROPS = dict(pos_drop_rate=0.1, patch_drop_rate=0.2, drop_path_rate=0.2)


def timm_cfg(model_name, **kwargs):
    return dict(type='TIMMBackbone', model_name=model_name, **kwargs)


# name -> (config, image size, neck, channels, units of every stage after the stem)
CASES = {
    'resnet': (timm_cfg('test_resnet'), 32, POOL, 96, (2, 1, 1, 1, 1)),
    'byobnet': (timm_cfg('test_byobnet'), 32, POOL, 256, (1, 1, 1, 1)),
    'convnext': (timm_cfg('test_convnext', drop_path_rate=0.3), 32, POOL, 64, (1, 3, 5, 3)),
    'efficientnet': (timm_cfg('test_efficientnet'), 32, POOL, 256, (1, 1, 1, 1, 1, 1)),
    'nfnet': (timm_cfg('test_nfnet'), 32, POOL, 192, (3, 1, 1, 1, 1, 1)),
    'mambaout': (timm_cfg('test_mambaout'), 64, MEAN, 256, (1, 2, 4, 2, 1)),
    'swin': (timm_cfg('swin_tiny_patch4_window7_224', **SWIN), 32, MEAN, 32, (1, 2, 3)),
    'densenet': (
        timm_cfg('densenet121', growth_rate=4, block_config=(2, 2, 2)),
        *(32, POOL, 16, (2, 1, 2, 1, 2)),
    ),
    'vit': (timm_cfg('vit_tiny_patch16_224', **VIT), 16, CLASS_TOKEN, 24, (5,)),
    'vit-registers': (
        timm_cfg('vit_tiny_patch16_224', **VIT, **DROPS, reg_tokens=2, no_embed_class=True),
        *(16, CLASS_TOKEN, 24, (5,)),
    ),
    'vit-mean': (
        timm_cfg(
            'vit_tiny_patch16_224', **VIT, class_token=False, global_pool='avg', pre_norm=True
        ),
        *(16, MEAN, 24, (5,)),
    ),
    'deit-distilled': (timm_cfg('deit_tiny_distilled_patch16_224', **VIT), 16, None, 24, (5,)),
}

every_case = pytest.mark.parametrize('name', in_tiers(CASES, ('densenet', 'swin', 'vit-registers')))


@every_case
def test_a_model_is_cut(name):
    check_network(*CASES[name])


def test_the_bias_unit_before_the_last_block_has_no_final_norm():
    backbone, size, neck, channels, _ = CASES['swin']
    ends = ['3.0', '3.1', '3.2']
    model = MODELS.build(classifier_cfg(backbone, size, channels, neck, ends=ends))
    last = model.block_units[-1][0]
    assert list(last.parts) == ['timm_model.layers.2.blocks.1']
    assert 'timm_model.norm' in last.all_parts
    # Channels first between units, as timm has them after the last.
    assert last.output_shape == (32, 2, 2) and last.final_shape == (2, 2, 32)


@pytest.mark.parametrize(
    ('name', 'count', 'last'),
    in_tiers(
        [
            ('resnet18', 9, (512, 7, 7)),
            ('regnety_002', 14, (368, 7, 7)),
            ('mobilenetv3_small_050', 14, (1024, 7, 7)),
            ('mixer_s32_224', 9, (49, 512)),
        ],
        [('mobilenetv3_small_050', 14, (1024, 7, 7))],
    ),
)
def test_published_models_have_the_units_that_one_expects(name, count, last):
    (units,) = LocalBlockSplitter(num_blocks=1).split(MODELS.build(timm_cfg(name)), (3, 224, 224))
    assert len(units) == count
    assert units[-1].final_shape == last


def test_images_of_another_kind_than_the_published_are_found():
    backbone = build(timm_cfg('test_resnet', in_channels=1))
    assert find_adapter(backbone)(backbone)[0].module(torch.zeros(2, 1, 32, 32)).ndim == 4


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            timm_cfg('test_vit_relpos'),
            "in VisionTransformerRelPos 'timm_model.blocks.0' takes other arguments than one "
            r"tensor .*register a unit adapter 'timm.VisionTransformerRelPos'",
        ),
        # A function in timm's forward, which shows in train mode only.
        (timm_cfg('test_resnet', drop_rate=0.2), "'timm_model.fc' does not take what"),
        (timm_cfg('test_resnet', features_only=True), 'features_only=True makes'),
        (
            timm_cfg('densenet121', growth_rate=4, block_config=(1, 1), memory_efficient=True),
            'memory_efficient=True would update running statistics twice',
        ),
    ],
    ids=['arguments', 'functional dropout', 'features_only', 'memory_efficient'],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(cfg, message):
    with pytest.raises(UserError, match=message):
        LocalBlockSplitter(num_blocks=1).split(MODELS.build(cfg), (3, 160, 160))


def test_a_subclass_with_a_forward_of_its_own_is_refused_by_its_values():
    backbone = build(CASES['vit'][0])
    base = type(backbone.timm_model)

    class Doubling(base):
        def forward_features(self, x, **kwargs):
            return 2 * super().forward_features(x, **kwargs)

    backbone.timm_model.__class__ = Doubling
    with pytest.raises(UserError, match="other values .*register an adapter 'timm.Doubling'"):
        LocalBlockSplitter(num_blocks=1).split(backbone, (3, 16, 16))


def test_an_adapter_of_a_user_for_a_class_of_timm_comes_first(monkeypatch):
    def two_units(backbone):
        first, *others = (f'timm_model.{name}' for name, _ in backbone.timm_model.named_children())
        return [
            Unit(0, 0, {first: backbone.get_submodule(first)}),
            Unit(1, 0, {path: backbone.get_submodule(path) for path in others}),
        ]

    backbone = build(timm_cfg('test_resnet'))
    assert adapter_names(backbone)[0] == 'timm.ResNet'
    monkeypatch.setitem(UNIT_ADAPTERS.module_dict, 'timm.ResNet', two_units)
    assert len(check_units(backbone, 32)) == 2


@pytest.mark.full
def test_only_a_timm_model_needs_timm():
    code = (
        'import sys; sys.modules["timm"] = None\n'
        'import mman.models\n'
        'from mman.registry import MODELS\n'
        'MODELS.build(dict(type="CIFARResNet", depth=20))\n'
        'print("built")\n'
        'MODELS.build(dict(type="TIMMBackbone", model_name="resnet18"))\n'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.stdout.strip().endswith('built')
    assert 'timm' in result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ('kwargs', 'shape', 'expected'),
    [
        (dict(), (2, 5, 3), lambda x: x[:, 0]),
        (dict(how='mean'), (2, 5, 3), lambda x: sum(x[:, i] for i in range(5)) / 5),
        (
            dict(how='mean', num_extra_tokens=2),
            (2, 5, 3),
            lambda x: sum(x[:, i] for i in (2, 3, 4)) / 3,
        ),
        (dict(how='mean'), (2, 4, 5, 3), lambda x: x.reshape(2, 20, 3).sum(1) / 20),
    ],
)
def test_token_pooling(kwargs, shape, expected):
    x = torch.randn(shape)
    (pooled,) = MODELS.build(dict(type='TokenPooling', **kwargs))((torch.zeros(1), x))
    torch.testing.assert_close(pooled, expected(x))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(how='max'), "how='max' of TokenPooling should be"),
        (dict(how='mean', num_extra_tokens=-1), 'num_extra_tokens=-1 .* from 0'),
        (dict(num_extra_tokens=1), "is for how='mean'"),
    ],
)
def test_token_pooling_refuses_other_arguments(kwargs, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(dict(type='TokenPooling', **kwargs))


@pytest.mark.parametrize(('kwargs', 'shape'), [(dict(), (2, 4, 5, 3)), (dict(how='mean'), (2, 3))])
def test_token_pooling_refuses_what_are_no_tokens(kwargs, shape):
    with pytest.raises(UserError, match=r'was given \(2, .*: it pools tokens'):
        MODELS.build(dict(type='TokenPooling', **kwargs))((torch.zeros(shape),))
