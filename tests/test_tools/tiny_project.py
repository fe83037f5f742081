"""A network and a data set for the tests of the tools; copied beside their config."""

from mmengine.model import BaseModule
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS, MODELS
from tiny_data import make_data
from torch import nn


@DATASETS.register_module()
class TinyDataset(BaseDataset):
    """Images made in memory."""

    METAINFO = {'classes': ('red', 'green', 'blue')}

    def __init__(self, size, seed, pipeline):
        self._size, self._seed = size, seed
        super().__init__(ann_file='', pipeline=pipeline)

    def load_data_list(self):
        images, labels = make_data(self._size, self._seed)
        return [
            {'img': image, 'gt_label': int(label), 'sample_idx': index}
            for index, (image, label) in enumerate(zip(images, labels, strict=True))
        ]


@MODELS.register_module()
class TinyBackbone(BaseModule):
    """One convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return (self.conv(x).relu(),)
