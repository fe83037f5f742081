"""The generated parts of README.md, metafile.yml and model-index.yml."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from config_facts import Facts

from mman.utils import UserError

BEGIN = '<!-- configs: written by tools/misc/update_metafiles.py -->'
END = '<!-- end of configs -->'
_MODELS = 'Models:'
_COLUMNS = {
    'config': ':--',
    'data set': ':--',
    'K': '--:',
    'blocks end at': ':--',
    'split from': ':--',
    'trained parameters': '--:',
    'at inference': '--:',
    'top-1, %': '--:',
}


def readme_text(old: str, facts: Sequence[Facts], path: Path) -> str:
    """A README with a new table between the two markers.

    Args:
        old (str): What the file holds.
        facts (Sequence[Facts]): A row each.
        path (Path): The file, for the message of an error.

    Raises:
        UserError: If the markers are not there once, in order.
    """
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in head + tail:
        raise UserError(
            f'{str(path)!r} should have the line {BEGIN!r} and then {END!r}, each once: the table '
            'of the configs goes between them'
        )
    rows = [list(_COLUMNS), list(_COLUMNS.values()), *map(_row, _ordered(facts))]
    table = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    return f'{head}{BEGIN}\n\n{table}\n\n{END}{tail}'


def metafile_text(old: str, facts: Sequence[Facts], path: Path) -> str:
    """A metafile with new models below its collection.

    Args:
        old (str): What the file holds.
        facts (Sequence[Facts]): A model each.
        path (Path): The file, for the message of an error.

    Raises:
        UserError: If it has not one collection, or no line 'Models:' after it.
    """
    head, models, _ = f'\n{old}'.partition(f'\n{_MODELS}')
    collections = (yaml.safe_load(head) or {}).get('Collections', [])
    if not models or len(collections) != 1:
        raise UserError(
            f'{str(path)!r} should have one collection, and then the line {_MODELS!r}: all below '
            'that line is written by the tool'
        )
    entries = [_model(one, collections[0]['Name']) for one in _ordered(facts)]
    text = yaml.safe_dump({'Models': entries}, sort_keys=False, allow_unicode=True)
    return f'{head[1:]}\n{text}'


def index_text(methods: Sequence[str]) -> str:
    """The whole of model-index.yml, which imports the metafile of every method."""
    return ''.join(['Import:\n', *(f'  - configs/{name}/metafile.yml\n' for name in methods)])


def _ordered(facts: Sequence[Facts]) -> list[Facts]:
    """By data set, then by name with its numbers in order."""

    def key(one: Facts) -> tuple:
        parts = re.split(r'(\d+)', one.name)
        return one.dataset, [int(part) if part.isdecimal() else part for part in parts]

    return sorted(facts, key=key)


def _row(one: Facts) -> list[str]:
    stem = one.name.split('/')[-1]
    return [
        f'[{stem}]({stem}.py)',
        one.dataset,
        str(one.num_blocks),
        one.ends,
        one.source,
        f'{one.trained:,}',
        f'{one.parameters:,}',
        _top1_cell(one),
    ]


def _top1_cell(one: Facts) -> str:
    if one.top1 is None:
        return ''
    top1 = one.top1
    return f'[{top1.mean:.2f} ± {top1.std:.2f}](../../{top1.record}), {top1.seeds} seeds'


def _model(one: Facts, collection: str) -> dict:
    """The entry of one config, in the schema of model-index."""
    entry = {
        'Name': one.name,
        'Metadata': {
            'Training Data': one.dataset,
            'Epochs': one.epochs,
            'Local Blocks': one.num_blocks,
            'Trained Parameters': one.trained,
            'Parameters': one.parameters,
            'FLOPs': one.flops,
        },
        'In Collection': collection,
    }
    if one.top1 is not None:
        entry['Results'] = [
            {
                'Task': 'Image Classification',
                'Dataset': one.dataset,
                'Metrics': {'Top 1 Accuracy': round(one.top1.mean, 2)},
            }
        ]
    return {**entry, 'Config': f'configs/{one.name}.py'}
