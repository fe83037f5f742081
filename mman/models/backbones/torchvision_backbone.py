from typing import Any

import torch
from mmengine.model import BaseModule
from torch import nn
from torchvision import models

from mman.registry import MODELS
from mman.utils.errors import UserError, did_you_mean

_RESNET = ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4')
_GOOGLENET = (
    *('conv1', 'maxpool1', 'conv2', 'conv3', 'maxpool2'),
    *('inception3a', 'inception3b', 'maxpool3'),
    *(f'inception4{letter}' for letter in 'abcde'),
    *('maxpool4', 'inception5a', 'inception5b'),
)
_INCEPTION = (
    *('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'maxpool1'),
    *('Conv2d_3b_1x1', 'Conv2d_4a_3x3', 'maxpool2'),
    *('Mixed_5b', 'Mixed_5c', 'Mixed_5d'),
    *(f'Mixed_6{letter}' for letter in 'abcde'),
    *('Mixed_7a', 'Mixed_7b', 'Mixed_7c'),
)

# torchvision's class -> what its forward calls before it pools, in order
_ROWS = {
    models.AlexNet: ('features',),
    models.ConvNeXt: ('features',),
    models.DenseNet: ('features', 'relu'),
    models.EfficientNet: ('features',),
    models.GoogLeNet: _GOOGLENET,
    models.Inception3: _INCEPTION,
    models.MaxVit: ('stem', 'blocks'),
    models.MNASNet: ('layers',),
    models.MobileNetV2: ('features',),
    models.MobileNetV3: ('features',),
    models.RegNet: ('stem', 'trunk_output'),
    models.ResNet: _RESNET,
    models.ShuffleNetV2: ('conv1', 'maxpool', 'stage2', 'stage3', 'stage4', 'conv5'),
    models.SqueezeNet: ('features',),
    models.SwinTransformer: ('features', 'norm', 'permute'),
    models.VGG: ('features',),
    models.VisionTransformer: ('conv_proj', 'class_token', 'encoder'),
}


@MODELS.register_module()
class TorchvisionBackbone(BaseModule):
    """A classifier of torchvision without its pooling and classifier.

    Serves torchvision's AlexNet, ConvNeXt, DenseNet, EfficientNet, GoogLeNet,
    Inception, MaxViT, MNASNet, MobileNet, RegNet, ResNet (ResNeXt and wide
    ones too), ShuffleNet, SqueezeNet, Swin, VGG and vision transformers. Its
    weights have torchvision's names, so that a checkpoint of torchvision's
    model fits without the entries of its classifier.

    Args:
        name (str): Name in torchvision, e.g. 'resnet18'.
        init_cfg (dict | list | None): Defaults to None: as torchvision
            initialises.
        **kwargs: Further arguments of torchvision's function of that name.

    Attributes:
        image_shape (tuple[int, int, int]): (C, H, W) of images that it takes,
            those it was made for if it takes no others.
        left_out (tuple[str, ...]): What it does not have of torchvision's
            model: the first names of the classifier's entries.

    Raises:
        UserError: If torchvision has no such classifier, refuses an argument,
            or would download weights.
    """

    def __init__(self, name: str, init_cfg: dict | list | None = None, **kwargs: Any):
        super().__init__(init_cfg)
        model = _built(name, kwargs)
        self.torchvision_class = type(model)
        self.row = _ROWS[self.torchvision_class]
        for part in self.row:
            setattr(self, part, _part(model, part))
        self.image_shape = (3, *kwargs.get('input_size', (224, 224)))
        self.left_out = tuple(part for part, _ in model.named_children() if part not in self.row)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Images (N, 3, H, W) to what torchvision pools, as a tuple of one.

        That is a map (N, C, h, w), and of a vision transformer tokens
        (N, L, C), the class token first.
        """
        if self.torchvision_class is models.VisionTransformer:
            return (self.encoder(with_class_token(self.conv_proj(x), self.class_token)),)
        for part in self.row:
            x = getattr(self, part)(x)
        return (x,)


def with_class_token(patches: torch.Tensor, class_token: torch.Tensor) -> torch.Tensor:
    """A map (N, C, h, w) as tokens (N, 1 + h * w, C) behind the class token (1, 1, C)."""
    tokens = patches.flatten(2).transpose(1, 2)
    return torch.cat([class_token.expand(len(tokens), -1, -1), tokens], 1)


def _built(name: str, kwargs: dict) -> nn.Module:
    """torchvision's model of that name, with the weights that it starts from."""
    where = f'model.backbone.name={name!r}'
    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f'{where} is no classifier of torchvision{did_you_mean(name, known)}')
    if kwargs.get('weights') is not None:
        raise UserError(
            f'model.backbone.weights={kwargs["weights"]!r} would be downloaded: leave it out and '
            "give the file as pretrained=dict(checkpoint=..., source='torchvision')"
        )
    if kwargs.get('transform_input'):
        raise UserError(
            'model.backbone.transform_input=True changes the normalisation of images: leave it '
            'out and set mean and std of data_preprocessor to 127.5'
        )
    if name in ('googlenet', 'inception_v3'):
        # torchvision warns where this is left open.
        kwargs = {'init_weights': True, **kwargs}
    try:
        return models.get_model(name, **{'weights': None, **kwargs})
    except (TypeError, ValueError) as error:
        raise UserError(f'{where} does not take these arguments: {error}') from error


def _part(model: nn.Module, name: str) -> nn.Module | nn.Parameter:
    """A part of torchvision's model, made callable."""
    if isinstance(model, models.DenseNet) and name == 'relu':
        # A function in torchvision's forward.
        return nn.ReLU(inplace=True)
    part = getattr(model, name)
    return nn.Sequential(*part) if isinstance(part, nn.ModuleList) else part
