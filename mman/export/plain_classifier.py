"""The classifier as exported, and comparing what was exported with it."""

from collections.abc import Callable

import torch
from torch import nn

from mman.apis import ImageInferencer
from mman.utils.errors import UserError

#: Largest difference of class scores, in relation to the largest score if that is above 1.
TOLERANCE = 1e-4


class PlainClassifier(nn.Module):
    """Images to class scores: backbone, neck and head, without aux heads.

    Args:
        model (nn.Module): An image classifier in eval mode.
        pixels (bool): Whether images are raw pixels, uint8 from 0 to 255, that
            are normalised inside. Otherwise they are normalised float32.
            Channels are in the order of ``data_preprocessor.mean`` either way.
    """

    def __init__(self, model: nn.Module, pixels: bool = False):
        super().__init__()
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else None
        self.head = model.head
        self.pixels = pixels
        mean, std = _normalisation(model)
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to class scores (N, num_classes), before softmax."""
        if self.pixels:
            images = (images.float() - self.mean) / self.std
        features = self.backbone(images)
        if self.neck is not None:
            features = self.neck(features)
        return self.head(features)

    @property
    def takes(self) -> str:
        """What images it takes, in words."""
        if self.pixels:
            return 'uint8 pixels from 0 to 255, normalised inside'
        mean, std = ([round(v, 3) for v in t.flatten().tolist()] for t in (self.mean, self.std))
        return f'float32, (pixels - mean) / std of pixels from 0 to 255, {mean=}, {std=}'


def _normalisation(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and std of pixels from 0 to 255, (C, 1, 1) each."""
    preprocessor = model.data_preprocessor
    if not preprocessor._enable_normalize:
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    return preprocessor.mean.cpu(), preprocessor.std.cpu()


def sample_images(model: nn.Module, folder: str | None, pixels: bool) -> torch.Tensor:
    """Images (N, C, H, W) to compare on: those of a folder, or random; as pixels or normalised.

    Raises:
        UserError: If the folder has none, or the model does not say the size of random ones.
    """
    if folder is not None:
        raw = ImageInferencer(model).pixels(folder)
    elif hasattr(model, 'input_shape'):
        generator = torch.Generator().manual_seed(0)
        shape = (5, *model.input_shape)
        raw = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    else:
        raise UserError(
            f'model.type={type(model).__name__!r} does not say the size of its images: give '
            'some to compare on, images=FOLDER'
        )
    mean, std = _normalisation(model)
    return raw if pixels else (raw.float() - mean) / std


@torch.no_grad()
def check_equal(
    exported: Callable[[torch.Tensor], torch.Tensor], original: nn.Module, images: torch.Tensor
) -> float:
    """The largest difference of class scores, in batches of several sizes.

    Raises:
        UserError: If it is above the tolerance.
    """
    found = []
    # Several sizes, so that one that was frozen into the export shows.
    for batch in filter(len, (images[:1], images[1:5], images[5:])):
        scores = original(batch)
        found.append((exported(batch) - scores).abs().max() / scores.abs().max().clamp(min=1))
    largest = torch.stack(found).max().item()
    # So that NaN is refused too.
    if not largest <= TOLERANCE:
        raise UserError(
            f'the export gives other scores than the classifier, off by {largest:.1e} where '
            f'{TOLERANCE:.0e} may be rounding; nothing was written'
        )
    return largest
