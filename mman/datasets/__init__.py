"""Data sets and transforms, beside all that mmpretrain has.

mmpretrain.datasets is imported so that a config finds its data sets,
transforms and samplers by their short names too. CIFAR10, CIFAR100,
FashionMNIST, ImageNet and LoadImageFromFile here take precedence over its own.
"""

import mmpretrain.datasets  # noqa: F401

from .cached_features import CachedFeatures
from .cifar import CIFAR10, CIFAR100
from .digits import Digits
from .fashion_mnist import FashionMNIST
from .image_folder import ImageFolder
from .imagenet import ImageNet
from .in_memory import InMemoryDataset
from .load_image import LoadImageFromFile
from .pad_border import PadBorder
from .stl10 import STL10
from .svhn import SVHN

__all__ = [
    'CIFAR10',
    'CIFAR100',
    'STL10',
    'SVHN',
    'CachedFeatures',
    'Digits',
    'FashionMNIST',
    'ImageFolder',
    'ImageNet',
    'InMemoryDataset',
    'LoadImageFromFile',
    'PadBorder',
]
