"""A classifier of digits trained for a moment, and the pictures that it is tried on."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mman.apis import get_model
from mman.datasets import Digits
from mman.engine.hooks import MomentumUpdateHook
from tests.helpers.stand_in_runner import make_runner, step

CONFIG = 'man/resnet20_k10_digits'
PATH = Path('configs') / f'{CONFIG}.py'
STEPS, BATCH, PICTURES = 20, 64, 100
_FOLDER = TemporaryDirectory()


@cache
def pictures(split='test'):
    """uint8 (N, 8, 8, 3) and labels (N, ) of the split."""
    data = Digits(split)
    infos = [data.get_data_info(i) for i in range(len(data))]
    return np.stack([i['img'] for i in infos]), np.array([i['gt_label'] for i in infos])


def normalised(images):
    """(N, 3, 8, 8) as the config of the digits says, computed here."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() - 78) / 96


def train(model, seed=0):
    """Some steps on the train split."""
    images, labels = pictures('train')
    order = np.random.default_rng(seed).permutation(len(images))
    runner = make_runner(model.train(), [MomentumUpdateHook(decay=0.9)])
    for number in range(STEPS):
        chosen = order[number * BATCH : (number + 1) * BATCH]
        inputs = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).float()
        samples = [DataSample().set_gt_label(int(label)) for label in labels[chosen]]
        step(runner, dict(inputs=inputs, data_samples=samples))
    return model.eval()


@cache
def trained_digits():
    """A checkpoint as a Runner writes it, of a few steps; its path and the model.

    It is made once for all tests of a process: change neither.
    """
    torch.manual_seed(0)
    model = train(get_model(Config.fromfile(PATH)))
    meta = dict(
        cfg=model._config.pretty_text,
        epoch=1,
        iter=STEPS,
        block_ends=model.block_ends,
        dataset_meta=dict(classes=tuple('0123456789')),
        experiment_name='x',
        hook_msgs={},
    )
    path = Path(_FOLDER.name) / 'epoch_1.pth'
    extra = dict(optimizer=dict(state={}, param_groups=[]), message_hub=dict(log_scalars={}))
    torch.save(dict(meta=meta, state_dict=model.state_dict(), **extra), path)
    return path, model


def write_pictures(folder, count=PICTURES):
    """The first pictures of the test split as PNG files, in their order."""
    for number, image in enumerate(pictures()[0][:count]):
        cv2.imwrite(str(Path(folder) / f'{number:03d}.png'), image[..., ::-1])
    return folder
