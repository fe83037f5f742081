"""From a classifier of ours to the same one of torchvision or timm: its model and its names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mmpretrain.models as mm
import torch
from mmengine.utils import get_object_from_string
from torch import nn

from mman.apis.models import AUX_HEADS
from mman.models import CIFARResNet, TorchvisionBackbone
from mman.utils import UserError

_MAKERS = dict(torchvision='torchvision.models.get_model', timm='timm.create_model')
_DEPTHS = (18, 34, 50, 101, 152)
# (channels, layers, attention heads, hidden channels) -> timm's size
_VIT_SIZES = {
    (192, 12, 3, 768): 'tiny',
    (384, 12, 6, 1536): 'small',
    (768, 12, 12, 3072): 'base',
    (1024, 24, 16, 4096): 'large',
}
_VIT_RULES = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^layers\.(\d+)\.ln([12])\.', r'blocks.\1.norm\2.'),
    (r'^layers\.(\d+)\.ffn\.layers\.0\.0\.', r'blocks.\1.mlp.fc1.'),
    (r'^layers\.(\d+)\.ffn\.layers\.1\.', r'blocks.\1.mlp.fc2.'),
    (r'^layers\.', 'blocks.'),
    (r'^ln1\.', 'norm.'),
)
# What the backbones take for themselves; the rest goes on to the library.
_OWN = ('type', 'model_name', 'features_only', 'pretrained', 'checkpoint_path', 'init_cfg', 'name')


@dataclass(frozen=True)
class Target:
    """The same network in another library."""

    library: str  #: 'torchvision' or 'timm'.
    name: str  #: Of the architecture there.
    classifier: str  #: Name of its last linear layer.
    kwargs: dict[str, Any] = field(default_factory=dict)  #: Of the architecture.
    #: Patterns and replacements of names of the backbone, applied in turn.
    rules: Sequence[tuple[str, str]] = ()

    def build(self) -> nn.Module:
        """The network in eval mode, its weights drawn.

        Raises:
            UserError: If the library is missing.
        """
        make = get_object_from_string(_MAKERS[self.library])
        if make is None:
            raise UserError(f'format={self.library!r} needs the package {self.library}')
        return make(self.name, **self.kwargs).eval()

    @property
    def call(self) -> str:
        """The call that makes the network."""
        arguments = [repr(self.name), *(f'{key}={v!r}' for key, v in self.kwargs.items())]
        return f'{_MAKERS[self.library]}({", ".join(arguments)})'

    def renamed(self, name: str) -> str:
        """Our name of a weight in its names."""
        name = re.sub(r'^head\.(fc|layers\.head)\.', f'{self.classifier}.', name)
        name = re.sub(r'^backbone\.(timm_model\.)?', '', name)
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name


def find_target(model: nn.Module, library: str) -> Target:
    """The network of a library that a classifier of :func:`mman.apis.get_model` is.

    Raises:
        UserError: If there is none; says why.
    """
    backbone, head = model.backbone, model.head
    where = f'format={library!r}: backbone {type(backbone).__name__}'
    if type(head) is not mm.LinearClsHead and not (
        type(head) is mm.VisionTransformerClsHead and head.hidden_dim is None
    ):
        raise UserError(f'{where}: head {type(head).__name__} is not one linear layer, as there')
    if isinstance(backbone, CIFARResNet):
        raise UserError(
            f'{where}, the ResNet of three stages for small images, is not in {library}'
        )
    config = dict(model._config.model.backbone)
    kwargs = {} if head.num_classes == 1000 else dict(num_classes=head.num_classes)
    if type(backbone) in (mm.ResNet, mm.ResNeXt):
        return Target(library, _resnet_name(backbone, config, where), 'fc', kwargs)
    if library == 'timm' and type(backbone) is mm.VisionTransformer:
        return _vision_transformer(backbone, kwargs, where)
    passed_on = {key: value for key, value in config.items() if key not in _OWN} | kwargs
    if library == 'timm' and isinstance(backbone, mm.TIMMBackbone):
        return _timm_backbone(backbone, config, passed_on, where)
    if library == 'torchvision' and isinstance(backbone, TorchvisionBackbone):
        return _torchvision_backbone(backbone, config['name'], passed_on, where)
    own = 'VisionTransformer, TIMMBackbone' if library == 'timm' else 'TorchvisionBackbone'
    raise UserError(f'{where} has no counterpart there; of ResNet, ResNeXt, {own} there are some')


def _resnet_name(backbone: nn.Module, config: dict, where: str) -> str:
    """ResNet and ResNeXt, whose backbones have the same names everywhere."""
    name, known = f'resnet{backbone.depth}', backbone.depth in _DEPTHS
    if type(backbone) is mm.ResNeXt:
        groups, width = config.get('groups', 32), config.get('width_per_group', 4)
        name = f'resnext{backbone.depth}_{groups}x{width}d'
        known = name == 'resnext101_32x8d'
    if not known:
        raise UserError(
            f'{where}: there is no {name}, only resnet{", ".join(map(str, _DEPTHS))} and '
            'resnext101_32x8d'
        )
    return name


def _vision_transformer(backbone: nn.Module, kwargs: dict, where: str) -> Target:
    keys = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')
    sizes = tuple(backbone.arch_settings[key] for key in keys)
    if sizes not in _VIT_SIZES:
        raise UserError(f'{where}: no size has {", ".join(keys)} = {sizes} there')
    if backbone.out_type != 'cls_token':
        raise UserError(f"{where}: out_type={backbone.out_type!r} should be 'cls_token', as there")
    image, patch = tuple(backbone.img_size), backbone.patch_embed.projection.kernel_size
    if image != (224, 224):
        kwargs['img_size'] = image
    if patch != (16, 16):
        kwargs['patch_size'] = patch[0] if patch[0] == patch[1] else patch
    return Target('timm', f'vit_{_VIT_SIZES[sizes]}_patch16_224', 'head', kwargs, _VIT_RULES)


def _timm_backbone(backbone: nn.Module, config: dict, kwargs: dict, where: str) -> Target:
    """A model of timm without its classifier, which is put back."""
    name = config['model_name']
    classifier = backbone.timm_model.pretrained_cfg.get('classifier')
    if config.get('features_only') or not isinstance(classifier, str):
        raise UserError(f'{where}: {name!r} has no single classifier to put back')
    if 'in_channels' in kwargs:
        kwargs['in_chans'] = kwargs.pop('in_channels')
    return Target('timm', name, classifier, kwargs)


def _torchvision_backbone(backbone: nn.Module, name: str, kwargs: dict, where: str) -> Target:
    """A classifier of torchvision without its last layers, which are put back."""
    target = Target('torchvision', name, '', kwargs)
    linear = [
        layer
        for layer, module in target.build().named_modules()
        if isinstance(module, nn.Linear) and layer.split('.')[0] in backbone.left_out
    ]
    if len(linear) != 1:
        raise UserError(f'{where}: {name!r} has {len(linear)} linear layers at its end, not one')
    return replace(target, classifier=linear[0])


def plain_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of a classifier's weights without its aux heads, by mmpretrain's names."""
    return {
        name: value.contiguous().clone()
        for name, value in model.state_dict().items()
        if not name.startswith(AUX_HEADS)
    }


def converted(model: nn.Module, target: Target) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """The weights by the names of the target, and the target with them.

    Raises:
        UserError: If they are not exactly its weights.
    """
    weights = {target.renamed(name): value for name, value in plain_weights(model).items()}
    network = target.build()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())[:300]
        raise UserError(f'the model is not quite {target.call}: {reason}') from error
    return weights, network
