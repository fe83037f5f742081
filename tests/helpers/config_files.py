"""The configs of the repository, and what their names say."""

from pathlib import Path

PATHS = sorted(path for path in Path('configs').rglob('*.py') if '_base_' not in path.parts)
IMAGENET = [path for path in PATHS if path.stem.endswith('_imagenet')]
# ResNet and ResNeXt.
IMAGENET_RESNETS = [path for path in IMAGENET if path.stem.startswith('res')]


def config_id(path: Path) -> str:
    """'method/name', for the ids of tests."""
    return f'{path.parts[1]}/{path.stem}'


def arch_name(backbone: dict) -> str:
    """How the names of configs call a backbone."""
    if backbone['type'] == 'ResNeXt':
        return 'resnext{depth}-{groups}x{width_per_group}d'.format(**backbone)
    if backbone['type'] == 'VisionTransformer':
        # mmpretrain calls the usual ones by the name of DeiT.
        return backbone['arch'].replace('deit-', 'vit-')
    if backbone['type'] == 'MLP':
        return f'mlp{len(backbone["widths"])}x{backbone["widths"][0]}'
    return f'resnet{backbone["depth"]}'
