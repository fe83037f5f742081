"""Predicting the classes of images in files, folders and arrays."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmcv.image import imread
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.structures import DataSample
from torch import nn

from mman.models.classifiers import check_exits, exit_logits
from mman.registry import DATASETS
from mman.utils import UserError
from mman.utils.packaged_weights import packaged_weights
from mman.utils.safe_loading import restrict_loading

from .config import load_config
from .memory_budget import apply_memory_budget
from .models import build_model, load_weights

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
# Steps of a test pipeline that leave the size of an image alone.
_KEEP_SIZE = ('LoadImageFromFile', 'PackInputs')

Image = str | Path | np.ndarray


def get_model(
    model: str | Config,
    pretrained: str | bool | None = None,
    device: str | torch.device | None = None,
    aux_heads: bool = False,
) -> nn.Module:
    """Build the model of a config, for inference.

    Like ``mmpretrain.get_model`` it keeps the config as ``_config`` and what is
    known of the data set as ``_dataset_meta``, so that mmpretrain's
    inferencers take it.

    Args:
        model (str | Config): A name out of :func:`list_models`, the path of a
            config file, or a config.
        pretrained (str | bool | None): A local checkpoint, of training or
            published; or True, the weights that come with the name, as
            ``list_models(pretrained=True)`` has them. Defaults to None,
            weights as the modules draw them, before ``init_weights``.
        device (str | torch.device | None): Where to put it. Defaults to None,
            the CPU.
        aux_heads (bool): Whether the checkpoint must have the aux heads too,
            as early exits need. Defaults to False.

    Returns:
        nn.Module: In eval mode.

    Raises:
        UserError: If there is no such config, it cannot be built, the
            checkpoint is refused or does not fit exactly, or there is no such
            device.
    """
    if pretrained is True:
        pretrained = packaged_weights(model)
    cfg = copy.deepcopy(model) if isinstance(model, Config) else load_config(model)
    restrict_loading(unsafe=False)
    apply_memory_budget(cfg)
    built = build_model(cfg)
    built._config, built._metainfo = cfg, None
    # What the class of the test set says of itself, its classes for one.
    kind = _test_dataset(cfg).get('type')
    built._dataset_meta = {} if kind is None else dict(getattr(DATASETS.get(kind), 'METAINFO', {}))
    if pretrained:
        meta = load_weights(built, pretrained, aux_heads)
        built._dataset_meta = meta.get('dataset_meta') or built._dataset_meta
    try:
        return built.to(device or 'cpu').eval()
    except (AssertionError, RuntimeError) as error:
        reason = str(error).split('\n')[0]
        raise UserError(f'device={device!r} cannot hold the model: {reason}') from error


def _test_dataset(cfg: Config) -> Mapping:
    """The config of the test set; of one held in memory, of the data set with the pipeline."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def _pools(cfg: Config) -> bool:
    """Whether the test set averages pixels, so that pictures of any size are averaged too."""
    return ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pool', 1) > 1


def image_files(path: str | Path) -> list[str]:
    """A picture itself, or the pictures of a folder, sorted by name.

    Raises:
        UserError: If a folder has none.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return [str(path)]
    found = sorted(str(f) for f in path.iterdir() if f.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f'folder {str(path)!r} has no images ({", ".join(SUFFIXES)})')
    return found


class ImageInferencer(ImageClassificationInferencer):
    """mmpretrain's inferencer for our configs and checkpoints, and for early exits.

    Call it with images: the path of a file or a folder, an array, or a list of
    paths and arrays. An array is uint8 (H, W, C), as the data set of the config
    gives it: RGB, or BGR where ``data_preprocessor.to_rgb`` is set. Files are
    read as that needs. ``batch_size`` (1), ``return_datasamples`` (False),
    ``show`` (False), ``show_dir`` and the other arguments of the call are
    mmpretrain's. It returns a list with a dict of every image, of
    ``pred_scores`` (num_classes, ), ``pred_label``, ``pred_score`` and, where
    names are known, ``pred_class``; or DataSamples.

    Args:
        model (str | Config | nn.Module): A name out of :func:`.list_models`,
            the path of a config file, a config, or what :func:`.get_model`
            returned.
        pretrained (str | bool | None): As of :func:`.get_model`. Defaults to
            None, which only a model takes.
        device (str | torch.device | None): Defaults to None, the CPU, or where
            a model is.
        classes (Sequence[str] | None): Names of the classes. Defaults to None,
            those of the checkpoint or the data set.
        exit (int | None): Predict by the aux head of this block, from 0, and
            run no block behind it. Defaults to None, the whole network.

    Raises:
        UserError: If the config, the checkpoint or the exit is wrong; in a
            call, if an image is missing, unreadable or of a wrong shape.
    """

    def __init__(
        self,
        model: str | Config | nn.Module,
        pretrained: str | bool | None = None,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        exit: int | None = None,
    ):
        restrict_loading(unsafe=False)
        if pretrained is True:
            pretrained = packaged_weights(model)
        if isinstance(model, nn.Module):
            if pretrained:
                load_weights(model, pretrained, aux_heads=exit is not None)
        elif not pretrained:
            raise UserError(f'model {model!r} needs a checkpoint: give pretrained')
        else:
            model = get_model(model, pretrained, device, aux_heads=exit is not None)
        if exit is not None:
            check_exits(model, [exit])
        self.exit = exit
        super().__init__(model, pretrained=False, device=device, classes=classes)

    def pixels(self, inputs: Image | Sequence[Image]) -> torch.Tensor:
        """Images after the test pipeline and before normalisation, uint8 (N, C, H, W).

        Their channels are in the order of ``data_preprocessor.mean``.
        """
        images = torch.cat([d['inputs'] for d in self.preprocess(self._inputs_to_list(inputs))])
        return images.flip(1) if self.model.data_preprocessor.to_rgb else images

    def preprocess(self, inputs: Sequence[Image], batch_size: int = 1) -> Iterator[dict]:
        """Batches of images that were read and went through the test pipeline."""
        pipeline = Compose([self._read, self.pipeline, self._checked])
        yield from map(default_collate, self._get_chunk_data(map(pipeline, inputs), batch_size))

    @torch.no_grad()
    def forward(self, inputs: dict) -> list[DataSample]:
        """Predictions of one batch, of the whole network or at the exit."""
        if self.exit is None:
            return self.model.test_step(inputs)
        data = self.model.data_preprocessor(inputs, False)
        ((_, logits),) = exit_logits(self.model, data['inputs'], [self.exit])
        return [
            DataSample().set_pred_score(score).set_pred_label(score.argmax())
            for score in logits.softmax(dim=1)
        ]

    def _init_pipeline(self, cfg: Config) -> Compose:
        steps = list(_test_dataset(cfg).get('pipeline') or [dict(type='PackInputs')])
        if _pools(cfg):
            size = tuple(cfg.model.input_shape[:0:-1])
            steps.insert(0, dict(type='Resize', scale=size, interpolation='area'))
        self._fixed_size = all(step['type'] in _KEEP_SIZE for step in steps)
        # Not the whole config: mmpretrain's method asks for this path of keys.
        loader = dict(dataset=dict(pipeline=steps))
        return super()._init_pipeline(Config(dict(test_dataloader=loader)))

    def _inputs_to_list(self, inputs: Image | Sequence[Image]) -> list:
        if not isinstance(inputs, str | Path):
            inputs = inputs if isinstance(inputs, list | tuple) else [inputs]
            return [str(i) if isinstance(i, Path) else i for i in inputs]
        return image_files(inputs)

    def _read(self, image: str | np.ndarray) -> dict:
        """An image as the data set gives it, in the channel order that training had."""
        name = 'an array'
        if isinstance(image, str):
            name = f'image {image!r}'
            if not Path(image).is_file():
                raise UserError(f'{name} does not exist')
            image = imread(image)
            if image is None:
                raise UserError(f'{name} cannot be read as a picture')
            if not self.model.data_preprocessor.to_rgb:
                image = image[..., ::-1]
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
            what = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else repr(image)
            raise UserError(f'{name} should be a picture, uint8 (H, W, C), but gives {what}')
        return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], img_path=name)

    def _checked(self, data: Mapping) -> Mapping:
        """Refuse an image of another size where nothing in the pipeline would change it."""
        expected = getattr(self.model, 'input_shape', None)
        found = tuple(data['inputs'].shape)
        if self._fixed_size and expected is not None and found != expected:
            name = data['data_samples'].get('img_path', 'an array')
            raise UserError(
                f'{name} is {found} (C, H, W), but the model was trained on {expected}, and the '
                'test pipeline of its config does not resize: resize it first'
            )
        return data
