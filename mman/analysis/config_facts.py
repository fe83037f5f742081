"""What a config's README row and metafile entry say, taken from the config and its model."""

import functools
import json
import math
from pathlib import Path
from statistics import mean, stdev

import torch
from mmengine.config import Config
from torch import nn

from mman import apis
from mman.apis.models import build_local_model
from mman.models.splitters.presets import DEFAULT_PRESETS, PRESETS
from mman.utils import UserError
from mman.utils.fake_copy import fake_copy
from mman.utils.flop_count import FlopCount
from mman.utils.packaged_weights import packaged_models

# dataset_type of the configs -> how metafiles of OpenMMLab call the data set
DATASETS = {
    'CIFAR10': 'CIFAR-10',
    'Digits': 'scikit-learn digits',
    'FashionMNIST': 'Fashion-MNIST',
    'ImageFolder': 'your own images',
    'ImageNet': 'ImageNet-1k',
    'STL10': 'STL-10',
    'SVHN': 'SVHN',
}
# config -> scalars or results of its full trainings, one file a seed, below benchmarks/records
_COMPARED = '2026-12-01-compare-cifar10-16px'
RECORDS = {
    'bp/resnet20_cifar10-16px': f'{_COMPARED}/bp_k1_seed*/result.json',
    'dgl/resnet20_k10_cifar10-16px': f'{_COMPARED}/dgl_k10_seed*/result.json',
    'man/resnet20_k10-dgl_cifar10-16px': f'{_COMPARED}/man_dgl_k10_seed*/result.json',
    'bp/resnet20_digits': '2026-11-21-digits/resnet20_digits-seed*.scalars.json',
    'man/resnet20_k10_digits': '2026-11-21-digits/resnet20_k10_digits-seed*.scalars.json',
}
# Ends are listed in full up to so many blocks.
_FEW = 8


def config_facts(root: Path, name: str) -> tuple[dict, dict[str, str]]:
    """What there is to say of a config of the repository, its model built as for training.

    Returns:
        tuple: Its model in the schema of model-index, the collection None; and the cells of its
        row in the README, by their headings.

    Raises:
        UserError: If the config has no LocalImageClassifier, or names a data
            set that ``DATASETS`` lacks, or its record is missing.
    """
    cfg = apis.load_config(str(root / 'configs' / f'{name}.py'))
    dataset = DATASETS.get(cfg.get('dataset_type'))
    if dataset is None:
        raise UserError(
            f'config {name!r}: dataset_type={cfg.get("dataset_type")!r} should be one of '
            f'{", ".join(DATASETS)}; add it to DATASETS of {Path(__file__).name}'
        )
    model = _model_facts(json.dumps(cfg.model, sort_keys=True))
    entry = {
        'Name': name,
        'Metadata': {
            'Training Data': dataset,
            'Epochs': cfg.train_cfg.max_epochs,
            'Local Blocks': model['K'],
            'Trained Parameters': model['trained'],
            'Parameters': model['parameters'],
            'FLOPs': model['multiply_adds'],
        },
        'In Collection': None,
    }
    cell = ''
    if name in RECORDS:
        accuracies, record = _accuracies(root, RECORDS[name])
        packaged = name in packaged_models()
        # Weights in the package are those of the first seed, and the metafile's figure is theirs.
        top1 = {'Top 1 Accuracy': round(accuracies[0] if packaged else mean(accuracies), 2)}
        task = {'Task': 'Image Classification', 'Dataset': dataset, 'Metrics': top1}
        entry['Results'] = [task]
        if packaged:
            entry['Weights'] = f'mman/weights/{name}.pth'
        spread = f' ± {stdev(accuracies):.2f}' if len(accuracies) > 1 else ''
        seeds = f'{len(accuracies)} seed{"s" if spread else ""}'
        cell = f'[{mean(accuracies):.2f}{spread}](../../{record}), {seeds}'
    entry['Config'] = f'configs/{name}.py'
    stem = name.split('/')[-1]
    row = {
        'config': f'[{stem}]({stem}.py)',
        'data set': dataset,
        'K': str(model['K']),
        'blocks end at': model['ends'],
        'split from': model['source'],
        'trained parameters': f'{model["trained"]:,}',
        'at inference': f'{model["parameters"]:,}',
        'top-1, %': cell,
    }
    return entry, row


@functools.cache
def _model_facts(text: str) -> dict:
    """What there is to say of a model, by its config as text: many configs share a model."""
    cfg = Config(dict(model=json.loads(text)))
    model = build_local_model(cfg).eval()
    # Of one image, OpenMMLab's FLOPs.
    with fake_copy(model) as copied, torch.no_grad(), FlopCount() as count:
        copied(torch.empty(1, *model.input_shape))
    in_heads = sum(p.numel() for p in model.aux_heads.parameters())
    return dict(
        K=model.num_blocks,
        ends=_ends(model),
        source=_source(model, cfg.model),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        parameters=sum(p.numel() for p in model.parameters()) - in_heads,
        multiply_adds=count.multiply_adds,
    )


def _ends(model: nn.Module) -> str:
    sizes = [len(units) for units in model.block_units]
    *first, last = sizes
    if len(sizes) == 1:
        return 'one block'
    if set(sizes) == {1}:
        return 'every unit'
    if sizes == [2] + [1] * len(sizes[1:]):
        return 'every unit, the stem with the first'
    if set(first) == {1}:
        return f'every unit, the last {last} together'
    ends = model.block_ends
    return ' '.join(ends if len(ends) <= _FEW else [*ends[:4], '...', *ends[-4:]])


def _source(model: nn.Module, cfg: dict) -> str:
    """Who published these ends, if a preset lists them."""
    key = (type(model.backbone).__name__, getattr(model.backbone, 'depth', None))
    preset = cfg['splitter'].get('preset') or DEFAULT_PRESETS.get(key)
    source, ends = PRESETS.get(preset, ('', {}))
    known = ends.get(model.num_blocks, '').split()
    return source if known and known == model.block_ends[:-1] else ''


def _accuracies(root: Path, pattern: str) -> tuple[list[float], str]:
    """The last accuracies of a record in %, one a seed, and its folder from the root."""
    records = root / 'benchmarks' / 'records'
    paths = sorted(records.glob(pattern))
    if not paths:
        raise UserError(f'record {pattern!r} should be one or more files below {str(records)!r}')
    last = []
    for path in paths:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = [one[key] for one in lines for key in ('accuracy/top1', 'top1') if key in one]
        if not found or not math.isfinite(found[-1]):
            raise UserError(
                f"{str(path)!r} has no last 'accuracy/top1' or 'top1'; it should be of a full "
                'training'
            )
        last.append(found[-1])
    return last, f'benchmarks/records/{pattern.partition("/")[0]}'
