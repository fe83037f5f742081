"""The generated parts of README.md and metafile.yml of every method, and model-index.yml.

What they say comes from the configs, the models that these build and the records. The text around a
table and the collection of a metafile are written by hand and stay.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from mman.utils import UserError

from .config_facts import Facts, config_facts
from .tables import markdown_table

BEGIN = '<!-- configs: written by tools/misc/update_metafiles.py -->'
END = '<!-- end of configs -->'
_MODELS = 'Models:'
_COLUMNS = (
    *('config', 'data set', 'K', 'blocks end at', 'split from'),
    *('trained parameters', 'at inference', 'top-1, %'),
)


def methods_of(root: Path) -> list[str]:
    """The folders of configs, without the base ones.

    Args:
        root (Path): Root of the repository.
    """
    return sorted({path.parent.name for path in (root / 'configs').glob('[!_]*/*.py')})


def wanted_texts(root: Path, method: str) -> dict[Path, str]:
    """What README.md and metafile.yml of a method should hold.

    Args:
        root (Path): Root of the repository.
        method (str): Folder below configs/.

    Raises:
        UserError: If the method or one of the files is missing, a marker in
            them is, or a config cannot be described.
    """
    if method not in methods_of(root):
        raise UserError(f'{method!r} should be one of {", ".join(methods_of(root))}')
    folder = root / 'configs' / method
    makers = {folder / 'README.md': readme_text, folder / 'metafile.yml': metafile_text}
    for path in makers:
        if not path.is_file():
            raise UserError(
                f'{str(path)!r} is missing: write its first part by hand, as that of another '
                'method, and the tool adds the rest'
            )
    facts = [config_facts(root, f'{method}/{path.stem}') for path in sorted(folder.glob('*.py'))]
    return {path: make(path.read_text(), facts, path) for path, make in makers.items()}


def outdated(root: Path, methods: list[str]) -> Iterator[tuple[Path, str]]:
    """The files that differ from what they should hold, and what that is.

    Args:
        root (Path): Root of the repository.
        methods (list[str]): Folders below configs/.

    Raises:
        UserError: As :func:`wanted_texts`.
    """
    wanted = {root / 'model-index.yml': index_text(methods_of(root))}
    for method in methods:
        wanted |= wanted_texts(root, method)
    for path, text in wanted.items():
        if not path.is_file() or path.read_text() != text:
            yield path, text


def difference(path: Path, text: str) -> str:
    """The lines in which a file differs from a text, as in a patch."""
    old = path.read_text().splitlines() if path.is_file() else []
    lines = difflib.unified_diff(old, text.splitlines(), str(path), 'should be', lineterm='', n=0)
    return '\n'.join(lines)


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
    rows = map(_row, _ordered(facts))
    table = markdown_table(_COLUMNS, rows, left=(0, 1, 3, 4), padded=False)
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
