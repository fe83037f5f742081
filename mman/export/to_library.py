"""From a classifier of ours to the same one of torchvision or timm: its model and its names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mmpretrain.models as mm
import torch
from torch import nn

from mman.models import CIFARResNet, TorchvisionBackbone
from mman.utils import UserError

_DEPTHS = (18, 34, 50, 101, 152)
# (channels, layers, attention heads, hidden channels) -> timm's size
_VIT_SIZES = {
    (192, 12, 3, 768): 'tiny',
    (384, 12, 6, 1536): 'small',
    (768, 12, 12, 3072): 'base',
    (1024, 24, 16, 4096): 'large',
}
_VIT_RULES = (
    (r'backbone\.patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'backbone\.layers\.(\d+)\.ln([12])\.', r'blocks.\1.norm\2.'),
    (r'backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.', r'blocks.\1.mlp.fc1.'),
    (r'backbone\.layers\.(\d+)\.ffn\.layers\.1\.', r'blocks.\1.mlp.fc2.'),
    (r'backbone\.layers\.', 'blocks.'),
    (r'backbone\.ln1\.', 'norm.'),
    (r'backbone\.', ''),
)
# What mmpretrain's TIMMBackbone takes for itself; the rest goes on to timm.
_TIMM_OWN = ('type', 'model_name', 'features_only', 'pretrained', 'checkpoint_path', 'init_cfg')


@dataclass(frozen=True)
class Target:
    """The same network in another library.

    Args:
        library (str): 'torchvision' or 'timm'.
        name (str): Of the architecture there.
        classifier (str): Name of its last linear layer.
        rules (Sequence[tuple[str, str]]): Patterns and replacements of names of
            the backbone, of which the first that matches counts.
        kwargs (dict): Further arguments of the architecture.
    """

    library: str
    name: str
    classifier: str
    rules: Sequence[tuple[str, str]]
    kwargs: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The network in eval mode, its weights drawn.

        Raises:
            UserError: If timm is missing.
        """
        if self.library == 'torchvision':
            from torchvision.models import get_model

            return get_model(self.name, weights=None, **self.kwargs).eval()
        try:
            import timm
        except ImportError as error:
            raise UserError(f"format='timm' needs the package timm: {error}") from error
        return timm.create_model(self.name, pretrained=False, **self.kwargs).eval()

    @property
    def call(self) -> str:
        """The call that makes the network."""
        function = dict(torchvision='torchvision.models.get_model', timm='timm.create_model')
        arguments = [repr(self.name), *(f'{key}={v!r}' for key, v in self.kwargs.items())]
        return f'{function[self.library]}({", ".join(arguments)})'

    def renamed(self, name: str) -> str:
        """Our name of a weight in its names."""
        match = re.match(r'head\.(?:fc|layers\.head)\.', name)
        if match:
            return f'{self.classifier}.{name[match.end() :]}'
        for pattern, replacement in self.rules:
            if re.match(pattern, name):
                return re.sub(pattern, replacement, name, count=1)
        return name


def find_target(model: nn.Module, library: str) -> Target:
    """The network of a library that a classifier is.

    Args:
        model (nn.Module): As :func:`mman.apis.get_model` returns it.
        library (str): 'torchvision' or 'timm'.

    Raises:
        UserError: If there is none; says why.
    """
    backbone = model.backbone
    where = f'format={library!r}: backbone {type(backbone).__name__}'
    _check_head(model, where)
    if isinstance(backbone, CIFARResNet):
        raise UserError(
            f'{where}, the ResNet of three stages for small images, is not in {library}'
        )
    if type(backbone) in (mm.ResNet, mm.ResNeXt):
        return _resnet(model, library, where)
    if library == 'timm' and type(backbone) is mm.VisionTransformer:
        return _vision_transformer(model, where)
    if library == 'timm' and isinstance(backbone, mm.TIMMBackbone):
        return _timm_backbone(model, where)
    if library == 'torchvision' and isinstance(backbone, TorchvisionBackbone):
        return _torchvision_backbone(model, where)
    own = ', VisionTransformer, TIMMBackbone' if library == 'timm' else ', TorchvisionBackbone'
    known = f'ResNet, ResNeXt{own}'
    raise UserError(f'{where} has no counterpart there; of {known} there are some')


def _check_head(model: nn.Module, where: str) -> None:
    """Both libraries classify by a single linear layer."""
    head = model.head
    plain = type(head) is mm.LinearClsHead or (
        type(head) is mm.VisionTransformerClsHead and head.hidden_dim is None
    )
    if not plain:
        raise UserError(f'{where}: head {type(head).__name__} is not one linear layer, as there')


def _classes(model: nn.Module) -> dict[str, int]:
    """The argument of the number of classes, where it is not ImageNet's."""
    return {} if model.head.num_classes == 1000 else dict(num_classes=model.head.num_classes)


def _resnet(model: nn.Module, library: str, where: str) -> Target:
    """ResNet and ResNeXt, whose backbones have the same names everywhere."""
    backbone = model.backbone
    name = f'resnet{backbone.depth}'
    known = backbone.depth in _DEPTHS
    if type(backbone) is mm.ResNeXt:
        config = model._config.model.backbone
        groups, width = config.get('groups', 32), config.get('width_per_group', 4)
        name = f'resnext{backbone.depth}_{groups}x{width}d'
        known = name == 'resnext101_32x8d'
    if not known:
        raise UserError(
            f'{where}: there is no {name}, only resnet{", ".join(map(str, _DEPTHS))} and '
            'resnext101_32x8d'
        )
    return Target(library, name, 'fc', ((r'backbone\.', ''),), _classes(model))


def _vision_transformer(model: nn.Module, where: str) -> Target:
    backbone = model.backbone
    arch = backbone.arch_settings
    keys = ('embed_dims', 'num_layers', 'num_heads', 'feedforward_channels')
    sizes = tuple(arch[key] for key in keys)
    if sizes not in _VIT_SIZES:
        raise UserError(f'{where}: no size has {", ".join(keys)} = {sizes} there')
    if backbone.out_type != 'cls_token':
        raise UserError(f"{where}: out_type={backbone.out_type!r} should be 'cls_token', as there")
    kwargs = _classes(model)
    height, width = backbone.img_size
    patch = backbone.patch_embed.projection.kernel_size
    if (height, width) != (224, 224):
        kwargs['img_size'] = (height, width)
    if patch != (16, 16):
        kwargs['patch_size'] = patch[0] if patch[0] == patch[1] else patch
    return Target('timm', f'vit_{_VIT_SIZES[sizes]}_patch16_224', 'head', _VIT_RULES, kwargs)


def _timm_backbone(model: nn.Module, where: str) -> Target:
    """A model of timm without its classifier, which is put back."""
    config = dict(model._config.model.backbone)
    classifier = model.backbone.timm_model.pretrained_cfg.get('classifier')
    if config.get('features_only') or not isinstance(classifier, str):
        raise UserError(f'{where}: {config["model_name"]!r} has no single classifier to put back')
    kwargs = {key: value for key, value in config.items() if key not in _TIMM_OWN}
    if 'in_channels' in kwargs:
        kwargs['in_chans'] = kwargs.pop('in_channels')
    rules = ((r'backbone\.timm_model\.', ''),)
    return Target('timm', config['model_name'], classifier, rules, kwargs | _classes(model))


def _torchvision_backbone(model: nn.Module, where: str) -> Target:
    """A classifier of torchvision without its last layers, which are put back."""
    config = dict(model._config.model.backbone)
    name = config['name']
    kwargs = {key: v for key, v in config.items() if key not in ('type', 'name', 'init_cfg')}
    target = Target('torchvision', name, '', ((r'backbone\.', ''),), kwargs | _classes(model))
    linear = [
        layer
        for layer, module in target.build().named_modules()
        if isinstance(module, nn.Linear) and layer.split('.')[0] in model.backbone.left_out
    ]
    if len(linear) != 1:
        raise UserError(f'{where}: {name!r} has {len(linear)} linear layers at its end, not one')
    return replace(target, classifier=linear[0])


def plain_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of a classifier's weights without its aux heads, by mmpretrain's names."""
    return {
        name: value.contiguous().clone()
        for name, value in model.state_dict().items()
        if not name.startswith('aux_heads.')
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
