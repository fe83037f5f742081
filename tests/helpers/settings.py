"""The one table of methods and backbones that generic tests run over.

Add a method or a backbone here once, and every generic test covers it, in one of the two tiers.
"""

import copy

import pytest
import torch
from mmpretrain.structures import DataSample

from mman.models import MomentumAuxHead
from mman.registry import MODELS
from tests.helpers import small_backbones  # noqa: F401

INFOPRO = dict(
    type='InfoProAuxHead',
    reconstruction_weight=2.0,
    task_weight=dict(first=0.5, last=1.0),
)
DGL = dict(type='DGLAuxHead')
# Weights at which both losses show, and what bfloat16 rounds off the similarities is a small part.
PREDSIM = dict(type='PredSimAuxHead', prediction_weight=0.5)
# One depth for all blocks: what a split costs is reckoned with the head of the block in the middle.
AUGLOCAL = dict(type='AugLocalAuxHead', depth=3, tau=0.0)

# Both losses show, whatever the scale of the features.
FEATURES = dict(type='FeatureReconstructionAuxHead', reconstruction_weight=0.5)

# name -> config of a head that goes alone, in MAN and in MAN++
HOSTS = {
    'infopro': INFOPRO,
    'greedy': dict(type='LinearAuxHead'),
    'dgl': DGL,
    'predsim': PREDSIM,
    'auglocal': AUGLOCAL,
    'features': FEATURES,
}


def _momentum(mix: str, **kwargs) -> dict:
    return dict(type='MomentumAuxHead', mix=mix, **kwargs)


# name -> config of the aux head; 'man' and 'manpp' have InfoPro as their host
METHODS = {
    **HOSTS,
    'man': _momentum('sum', host=INFOPRO),
    'manpp': _momentum('scaled', host=INFOPRO),
    **{f'man-{name}': _momentum('sum', host=HOSTS[name]) for name in list(HOSTS)[1:]},
    **{f'manpp-{name}': _momentum('scaled', host=HOSTS[name]) for name in list(HOSTS)[1:]},
    'mono-forward': dict(type='LinearAuxHead', bias=False),
    'dgl-manpp': dict(type='DGLAuxHead', variant='manpp'),
    'infopro-conv-first': dict(INFOPRO, decoder='conv_first'),
    'infopro-imagenet': dict(INFOPRO, type='InfoProImageNetAuxHead'),
    'infopro-contrast': dict(INFOPRO, task_loss='contrast', net='1c2f'),
    # As MAN++ for vision transformers.
    'manpp-two-units': _momentum(
        'scaled', bias_units=2, host=dict(type='LinearAuxHead', norm=dict(type='LN'))
    ),
}

# name -> (config of the backbone, channels that it ends with)
BACKBONES = {
    'cifar_resnet20': (dict(type='CIFARResNet', depth=20, widths=(8, 8, 16, 32)), 32),
    'resnet18': (dict(type='ResNet', depth=18, base_channels=8, stem_channels=8), 64),
    'resnet50': (dict(type='ResNet', depth=50, base_channels=8, stem_channels=8), 256),
    'resnetv1d50': (dict(type='ResNetV1d', depth=50, base_channels=8, stem_channels=8), 256),
    'resnet_cifar18': (dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8), 64),
    'seresnet50': (dict(type='SEResNet', depth=50, base_channels=16, se_ratio=4), 512),
    'resnext50': (
        dict(type='ResNeXt', depth=50, groups=4, width_per_group=4, base_channels=16),
        512,
    ),
    'regnet': (
        dict(type='RegNet', arch=dict(w0=16, wa=20, wm=2.0, group_w=8, depth=5, bot_mul=1.0)),
        128,
    ),
    'vgg13_bn': (
        dict(
            type='VGG',
            depth=13,
            num_stages=3,
            dilations=(1, 1, 1),
            out_indices=(2,),
            norm_cfg=dict(type='BN'),
        ),
        256,
    ),
    'mobilenet_v2': (dict(type='SmallMobileNetV2', widen_factor=0.5, out_indices=(3,)), 1280),
    'efficientnet': (dict(type='SmallEfficientNet', out_indices=(4,)), 64),
    'densenet': (
        dict(type='DenseNet', arch=dict(growth_rate=8, depths=[2, 2, 2], init_channels=16)),
        32,
    ),
    'convnext': (
        dict(
            type='ConvNeXt',
            arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]),
            gap_before_final_norm=False,
        ),
        32,
    ),
    'swin': (
        dict(
            type='SwinTransformer',
            arch=dict(embed_dims=8, depths=[1, 2, 2], num_heads=[1, 2, 2]),
            img_size=64,
            window_size=2,
            drop_path_rate=0.0,
            out_indices=(2,),
        ),
        32,
    ),
    'vit': (
        dict(
            type='VisionTransformer',
            arch=dict(embed_dims=24, num_layers=8, num_heads=2, feedforward_channels=48),
            img_size=16,
            patch_size=4,
        ),
        24,
    ),
    # Dropout draws from one generator for all that runs; test_mlp.py has it.
    'mlp': (
        dict(type='MLP', in_features=768, widths=[24] * 8, norm_cfg=dict(type='BN1d')),
        24,
    ),
}

# Backbones that return a vector need no neck.
WITHOUT_NECK = ('vit', 'mlp')

MAPS, TOKENS, VECTORS = 'cifar_resnet20', 'vit', 'mlp'
WRAPPERS = ('man', 'manpp', None)
# The losses of one host with other layers; how it sees tokens is the host's.
VARIANTS = ('dgl-manpp', 'infopro-conv-first', 'infopro-imagenet', 'infopro-contrast')


def _wrapped(wrapper: str | None, host: str) -> str:
    """The name in METHODS."""
    if wrapper is None or host == 'infopro':
        return wrapper or host
    return f'{wrapper}-{host}'


def _in_turn(shift: int, backbone: str) -> list[tuple[str, str]]:
    """Every host once, in the next of the wrappers."""
    return [
        (_wrapped(WRAPPERS[(i + shift) % len(WRAPPERS)], host), backbone)
        for i, host in enumerate(HOSTS)
    ]


#: Hosts, wrappers, and maps or tokens know nothing of each other. So every host is on maps, and on
#: tokens once for each way to look at them: as a map, by a vector, by similarities.
FAST = [
    *_in_turn(0, MAPS),
    *((method, TOKENS) for method in ('manpp', 'man-dgl', 'manpp-predsim', 'manpp-two-units')),
]
FAST += [('mono-forward', VECTORS), ('predsim', VECTORS)]
_HOSTED = {_wrapped(wrapper, host) for wrapper in WRAPPERS for host in HOSTS}
# They are no pair of a host and a wrapper.
_OTHERS = [
    method for method in METHODS if method not in (*_HOSTED, 'manpp-two-units', 'mono-forward')
]
#: What goes in no wrapper, and MAN for all that does.
ONE_WRAPPED = [*HOSTS, 'man', *_OTHERS]
#: Every method at least once, and those that are no such pair on both kinds.
CASES = [
    *FAST,
    *(case for case in _in_turn(1, TOKENS) if case not in FAST),
    *_in_turn(2, MAPS),
    ('manpp-two-units', MAPS),
    *((method, MAPS) for method in _OTHERS),
    *((method, TOKENS) for method in _OTHERS if method not in VARIANTS),
    ('man-greedy', VECTORS),
]
#: Those with what is recomputed; on tokens everything or nothing.
RECOMPUTED = [(*case, part) for case in CASES for part in ('none', 'all')] + [
    ('man', MAPS, 'block')
]
#: None and all in turn.
FAST_RECOMPUTED = [(*case, ('none', 'all')[i % 2]) for i, case in enumerate(FAST)] + [
    ('man', MAPS, 'block')
]
#: The backbones whose units are the hardest to cut: of several parts, of many maps, of tokens.
FAST_BACKBONES = ('densenet', 'swin', 'vit', 'mlp')
# Cut by the adapter of others and made of their blocks: test_units is enough for them.
_RELATIVES = ('resnet50', 'resnetv1d50', 'resnet_cifar18', 'resnext50')
#: The backbones that are trained, and those that are by one method, as methods do not know them.
TRAINED = [name for name in BACKBONES if name not in _RELATIVES]
OTHER_BACKBONES = [name for name in TRAINED if name not in (MAPS, TOKENS, VECTORS)]
#: Every case, and MAN on every other backbone.
ALL = CASES + [('man', name) for name in OTHER_BACKBONES]


def in_tiers(rows, fast) -> list:
    """Rows for ``parametrize``; those that are not in ``fast`` run in make test-full only."""
    return [
        row
        if row in fast
        else pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.full)
        for row in rows
    ]


def image_size(backbone: str) -> int:
    """Side of the images a backbone is tested on; VGG's widths cannot be made small."""
    return {'cifar_resnet20': 16, 'vit': 16, 'mlp': 16, 'vgg13_bn': 32}.get(backbone, 64)


def model_cfg(
    method: str = 'man',
    backbone: str = 'cifar_resnet20',
    size: int = 16,
    recompute: str | list = 'none',
    **splitter,
) -> dict:
    """Config of a small LocalImageClassifier; 4 uniform blocks unless told otherwise."""
    backbone_cfg, channels = copy.deepcopy(BACKBONES[backbone])
    splitter = splitter or dict(num_blocks=4, strategy='uniform')
    extra = {} if recompute == 'none' else dict(recompute=recompute)
    return dict(
        **extra,
        type='LocalImageClassifier',
        backbone=backbone_cfg,
        splitter=dict(type='LocalBlockSplitter', **splitter),
        input_shape=(3, size, size),
        aux_head=copy.deepcopy(METHODS[method]),
        neck=None if backbone in WITHOUT_NECK else dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=channels),
        data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    )


def build_model(*args, **kwargs) -> torch.nn.Module:
    """A small LocalImageClassifier in train mode, initialised, by name."""
    torch.manual_seed(0)
    model = MODELS.build(model_cfg(*args, **kwargs))
    model.init_weights()
    return model.train()


def start_heads(model: torch.nn.Module) -> None:
    """Start the MomentumAuxHead of every block that trains, as the hook does."""
    units = [unit.module for block in model.local_blocks for unit in block.units]
    end = 0
    for block, head in zip(model.local_blocks[:-1], model.aux_heads, strict=True):
        end += len(block.units)
        if isinstance(head, MomentumAuxHead) and block.index in model.trained_blocks:
            head.start(*units[end : end + head.num_sources])


def random_batch(count: int = 8, size: int = 16, seed: int = 0) -> dict:
    """A batch as a data loader gives it: pixels 0 to 255 and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, size, size), generator=generator).float()
    labels = torch.randint(0, 10, (count,), generator=generator).tolist()
    return dict(inputs=images, data_samples=[DataSample().set_gt_label(label) for label in labels])
