"""One reference vector: reading it, and the model that its meta describes."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch


class GoldenCase:
    """A .npz of numbers that the released MAN and MAN++ codes gave.

    Args:
        path (Path): The file; see tests/data/golden/README.md for its format.
    """

    def __init__(self, path: Path):
        with np.load(path) as archive:
            self.arrays = {key: archive[key] for key in archive.files}
        self.meta = json.loads(str(self.arrays.pop('meta')))
        self.stem_own = self.meta['block_ends'][0] == [0, 0]
        self.heads = {name: k for k, name in enumerate(self.meta['aux_names'])}

    def model_cfg(self) -> dict:
        """Config of the LocalImageClassifier that this case trained."""
        meta = self.meta
        size = self.arrays['step0/input'].shape
        aux_heads = [
            dict(
                type='MomentumAuxHead',
                mix=meta['mix'],
                momentum_init='random',
                bias_init='random',
                host=self._host_cfg(k, name),
            )
            for name, k in self.heads.items()
        ]
        return dict(
            type='LocalImageClassifier',
            backbone=dict(
                type='CIFARResNet',
                depth=int(meta['net'].removeprefix('resnet')),
                widths=meta['widths'],
            ),
            splitter=dict(type='LocalBlockSplitter', ends=meta['block_ends']),
            input_shape=size[1:],
            aux_head=aux_heads,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead', num_classes=meta['classes'], in_channels=meta['widths'][-1]
            ),
            data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
        )

    def _host_cfg(self, k: int, name: str) -> dict:
        reconstruction, task = self.meta['loss_weights'][k]
        if self.meta['host'] == 'dgl':
            return dict(type='DGLAuxHead', variant='manpp', weight=task)
        if not task:
            return dict(
                type='InfoProAuxHead',
                reconstruction_weight=reconstruction,
                task_weight=0,
                decoder='resize_first',
            )
        dims = [s for key, s in sorted(self.shapes(name).items()) if key.endswith('weight')]
        linears = [shape for shape in dims if len(shape) == 2]
        convolutions = [shape for shape in dims if len(shape) == 4]
        # The release gives the head of an own stem a net and a loss of its own,
        # which the meta does not say: both are read off the stored parameters.
        contrast = linears[-1][0] == 128 and self.meta['classes'] != 128
        return dict(
            type='InfoProAuxHead',
            net=f'{len(convolutions)}c{len(linears)}f',
            task_loss='contrast' if contrast else 'cross_entropy',
            reconstruction_weight=reconstruction,
            task_weight=task,
            decoder='resize_first',
        )

    def shapes(self, prefix: str) -> dict[int | str, tuple[int, ...]]:
        """Shapes of the parameters under a name, in the order of their layers."""
        found = {}
        for key in self.arrays:
            match = re.fullmatch(rf'step0/grad/({re.escape(prefix)}\..+?)(#shape)?', key)
            if match:
                value = self.arrays[key]
                shape = tuple(value.tolist()) if match[2] else value.shape
                if '#' not in match[1]:
                    layer = int(re.findall(r'\.(\d+)\.', match[1])[-1])
                    found[f'{layer:03d}.{match[1]}'] = shape
        return found

    def own_name(self, name: str) -> str:
        """The name in our model of a tensor of the release."""
        offset = 1 if self.stem_own else 0
        rules = [
            (r'(conv1|bn1|layer\d+)\b(.*)', r'backbone.\1\2'),
            (r'fc64\.(.*)', r'head.fc.\1'),
            (r'LB_first\.(.*)', r'aux_heads.0.bias_unit.\1'),
            (r'EMA_first\.(.*)', r'aux_heads.0.momentum_unit.\1'),
            (r'ema_s_first', 'aux_heads.0.scale'),
            (r'LB\.(\d+)\.(.*)', lambda m: f'aux_heads.{int(m[1]) + offset}.bias_unit.{m[2]}'),
            (
                r'EMA_Net\.(\d+)\.(.*)',
                lambda m: f'aux_heads.{int(m[1]) + offset}.momentum_unit.{m[2]}',
            ),
            (r'ema_s\.(\d+)', lambda m: f'aux_heads.{int(m[1]) + offset}.scale'),
            (
                r'decoder(_\d+_\d+)\.(.*)',
                lambda m: f'aux_heads.{self.heads["aux_classifier" + m[1]]}.host.decoder.{m[2]}',
            ),
            (
                r'(aux_classifier_\d+_\d+)\.head\.(.*)',
                lambda m: (
                    f'aux_heads.{self.heads[m[1]]}.host.'
                    + ('head.' if self.meta['host'] == 'dgl' else 'aux_net.')
                    + m[2]
                ),
            ),
        ]
        for pattern, replacement in rules:
            if re.fullmatch(pattern, name):
                return re.sub(pattern, replacement, name, count=1)
        raise KeyError(name)

    def names(self, group: str) -> list[str]:
        """Names of the release with an entry in ``group``, 'step0/grad' for one."""
        names = {
            key.removeprefix(f'{group}/').split('#')[0]
            for key in self.arrays
            if key.startswith(f'{group}/')
        }
        return sorted(name for name in names if name.split('.')[0] not in self._untrained())

    def _untrained(self) -> set[str]:
        """Networks whose loss has weight zero: ours are not built, the release's only decay."""
        found = set()
        for name, k in self.heads.items():
            reconstruction, task = self.meta['loss_weights'][k]
            if not task:
                found.add(name)
            if not reconstruction:
                found.add(name.replace('aux_classifier', 'decoder'))
        return found

    def removed_biases(self) -> set[str]:
        """Biases that the BatchNorm after them removes."""
        hidden = (11, 14, 17) if self.meta['host'] == 'dgl' else ()
        return {f'{name}.head.{i}.bias' for name in self.heads for i in hidden} | {
            f'{name.replace("aux_classifier", "decoder")}.decoder.0.bias' for name in self.heads
        }

    def difference(self, group: str, name: str, value: torch.Tensor) -> tuple[float, float]:
        """Largest deviation from a stored tensor, and its largest element.

        A large tensor is stored by evenly spaced elements, and by its sum and
        norm, which must agree in relation to the norm.
        """
        value = value.detach().double().numpy()
        key = f'{group}/{name}'
        if key in self.arrays:
            stored = self.arrays[key].astype(np.float64)
            assert stored.shape == value.shape
            return float(np.abs(stored - value).max()), float(np.abs(stored).max())
        assert tuple(self.arrays[f'{key}#shape']) == value.shape
        stored = self.arrays[f'{key}#val'].astype(np.float64)
        off = float(np.abs(stored - value.reshape(-1)[self.arrays[f'{key}#idx']]).max())
        return off, float(np.abs(stored).max())


def golden_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight that every reference vector starts from, by the release's name."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    r = generator.standard_normal(int(np.prod(shape, dtype=int))).reshape(shape)
    if len(shape) == 4:
        r = r * np.sqrt(2 / (shape[2] * shape[3] * shape[0]))
    elif len(shape) == 2:
        r = r / np.sqrt(shape[1])
    elif len(shape) == 0:
        r = 1 + 0.1 * r
    elif name.endswith('weight'):
        r = 1 + 0.1 * r
    else:
        r = 0.1 * r
    return torch.from_numpy(np.asarray(r, dtype=np.float32))
