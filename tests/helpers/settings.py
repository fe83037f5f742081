"""The one table of methods and backbones that generic tests run over.

Add a method or a backbone here once, and every generic test covers it.
"""

import copy

import torch
from mmpretrain.structures import DataSample

from mman.registry import MODELS

INFOPRO = dict(
    type='InfoProAuxHead',
    reconstruction_weight=2.0,
    task_weight=dict(first=0.5, last=1.0),
)
DGL = dict(type='DGLAuxHead')

# name -> config of the aux head
METHODS = {
    'greedy': dict(type='LinearAuxHead'),
    'dgl': DGL,
    'dgl-manpp': dict(type='DGLAuxHead', variant='manpp'),
    'infopro': INFOPRO,
    'infopro-conv-first': dict(INFOPRO, decoder='conv_first'),
    'infopro-imagenet': dict(INFOPRO, type='InfoProImageNetAuxHead'),
    'infopro-contrast': dict(INFOPRO, task_loss='contrast', net='1c2f'),
    'man': dict(type='MomentumAuxHead', mix='sum', host=INFOPRO),
    'manpp': dict(type='MomentumAuxHead', mix='scaled', host=INFOPRO),
    'man-dgl': dict(type='MomentumAuxHead', mix='sum', host=DGL),
    'manpp-greedy': dict(type='MomentumAuxHead', mix='scaled', host=dict(type='LinearAuxHead')),
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
}


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
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=channels),
        data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    )


def build_model(*args, **kwargs) -> torch.nn.Module:
    """A small LocalImageClassifier in train mode, initialised, by name."""
    torch.manual_seed(0)
    model = MODELS.build(model_cfg(*args, **kwargs))
    model.init_weights()
    return model.train()


def random_batch(count: int = 8, size: int = 16, seed: int = 0) -> dict:
    """A batch as a data loader gives it: pixels 0 to 255 and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, size, size), generator=generator).float()
    labels = torch.randint(0, 10, (count,), generator=generator).tolist()
    return dict(inputs=images, data_samples=[DataSample().set_gt_label(label) for label in labels])
