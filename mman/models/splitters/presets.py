"""Published splits: where the local blocks of a network end.

Those of ResNet-18 and 34 on ImageNet are not published but ours, as their
source says. Ends are written stage.unit, units counted from 0, without the last
unit of the network, which always ends the last block; the stem belongs to the
first block.
"""

_INFOPRO = 'InfoPro (ICLR 2021), released configuration'
_BALANCED = 'InfoPro (ICLR 2021), memory-balanced configuration'
_IMAGENET = 'InfoPro (ICLR 2021) and MAN (ECCV 2024), ImageNet configuration'
_OURS = 'not published: ours, cut as ResNet-50 is'

# preset -> (source, {num_blocks: ends})
PRESETS: dict[str, tuple[str, dict[int, str]]] = {
    'resnet32': (
        _INFOPRO,
        {
            2: '2.1',
            3: '1.4 2.4',
            4: '1.2 2.1 3.0',
            8: '1.0 1.2 1.4 2.1 2.3 3.0 3.2',
        },
    ),
    'resnet110': (
        _INFOPRO,
        {
            2: '2.8',
            3: '1.17 2.17',
            4: '1.11 2.7 3.3',
            8: '1.4 1.11 2.0 2.7 2.14 3.3 3.10',
            16: '1.1 1.4 1.7 1.10 1.13 1.16 2.1 2.4 2.7 2.11 2.15 3.1 3.5 3.9 3.13',
            32: '1.1 1.2 1.4 1.5 1.7 1.9 1.11 1.13 1.14 1.16 1.17 '
            '2.1 2.2 2.4 2.5 2.7 2.9 2.11 2.13 2.14 2.16 2.17 '
            '3.1 3.3 3.4 3.6 3.7 3.9 3.11 3.13 3.15',
        },
    ),
    'resnet110-balanced-cifar10': (
        _BALANCED,
        {2: '1.14', 3: '1.9 2.2', 4: '1.6 1.14 2.8'},
    ),
    'resnet110-balanced-stl10': (
        _BALANCED,
        {2: '1.14', 3: '1.8 2.1', 4: '1.6 1.14 2.8'},
    ),
    'imagenet-resnet18': (_OURS, {2: '2.0', 4: '1.1 2.1 3.1'}),
    'imagenet-resnet34': (_OURS, {2: '2.0', 4: '1.2 2.3 3.5'}),
    'imagenet-resnet50': (_IMAGENET, {2: '2.0', 4: '1.2 2.3 3.5'}),
    'imagenet-resnet101': (_IMAGENET, {2: '2.0', 4: '2.2 3.8 3.16'}),
    'imagenet-resnet152': (_IMAGENET, {2: '2.5', 4: '2.6 3.13 3.25'}),
    'imagenet-resnext101': ('MAN (ECCV 2024), ImageNet', {2: '2.0', 4: '2.2 3.8 3.16'}),
    'imagenet-resnext101-infopro': (_INFOPRO + ', ImageNet', {2: '2.2', 4: '2.2 3.8 3.16'}),
}

# (class name of the backbone, depth) -> preset used where none is named
DEFAULT_PRESETS: dict[tuple[str, int], str] = {
    ('CIFARResNet', 32): 'resnet32',
    ('CIFARResNet', 110): 'resnet110',
    ('ResNet', 18): 'imagenet-resnet18',
    ('ResNet', 34): 'imagenet-resnet34',
    ('ResNet', 50): 'imagenet-resnet50',
    ('ResNet', 101): 'imagenet-resnet101',
    ('ResNet', 152): 'imagenet-resnet152',
    ('ResNeXt', 101): 'imagenet-resnext101',
}
