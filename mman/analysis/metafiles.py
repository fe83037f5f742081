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

from .config_facts import config_facts
from .tables import markdown_table

BEGIN = '<!-- configs: written by tools/misc/update_metafiles.py -->'
END = '<!-- end of configs -->'
_MODELS = 'Models:'


def methods_of(root: Path) -> list[str]:
    """The folders of configs below the root of the repository, without the base ones."""
    return sorted({path.parent.name for path in (root / 'configs').glob('[!_]*/*.py')})


def _wanted_texts(folder: Path) -> dict[Path, str]:
    """What README.md and metafile.yml in the folder of a method should hold."""
    makers = {folder / 'README.md': _readme, folder / 'metafile.yml': _metafile}
    for path in makers:
        if not path.is_file():
            raise UserError(
                f'{str(path)!r} is missing: write its first part by hand, as that of another '
                'method, and the tool adds the rest'
            )
    root, names = folder.parents[1], [f'{folder.name}/{path.stem}' for path in folder.glob('*.py')]
    facts = [config_facts(root, name) for name in names]
    facts.sort(key=_order)
    return {path: make(path.read_text(), facts, path) for path, make in makers.items()}


def outdated(root: Path, methods: list[str]) -> Iterator[tuple[Path, str]]:
    """The files of methods that differ from what they should hold, and what that is.

    Raises:
        UserError: If a method or one of its files is missing, a marker in them is, or a config
            cannot be described.
    """
    known = methods_of(root)
    imports = ''.join(f'  - configs/{name}/metafile.yml\n' for name in known)
    wanted = {root / 'model-index.yml': f'Import:\n{imports}'}
    for method in methods:
        if method not in known:
            raise UserError(f'{method!r} should be one of {", ".join(known)}')
        wanted |= _wanted_texts(root / 'configs' / method)
    for path, text in wanted.items():
        if not path.is_file() or path.read_text() != text:
            yield path, text


def difference(path: Path, text: str) -> str:
    """The lines in which a file differs from a text, as in a patch."""
    old = path.read_text().splitlines() if path.is_file() else []
    lines = difflib.unified_diff(old, text.splitlines(), str(path), 'should be', lineterm='', n=0)
    return '\n'.join(lines)


def _readme(old: str, facts: Sequence[tuple[dict, dict]], path: Path) -> str:
    """A README with a new table between the two markers, each of which it must have once."""
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in head + tail:
        raise UserError(
            f'{str(path)!r} should have the line {BEGIN!r} and then {END!r}, each once: the table '
            'of the configs goes between them'
        )
    table = markdown_table([row for _, row in facts], left=(0, 1, 3, 4), padded=False)
    return f'{head}{BEGIN}\n\n{table}\n\n{END}{tail}'


def _metafile(old: str, facts: Sequence[tuple[dict, dict]], path: Path) -> str:
    """A metafile with new models below its one collection and the line 'Models:'."""
    head, models, _ = f'\n{old}'.partition(f'\n{_MODELS}')
    collections = (yaml.safe_load(head) or {}).get('Collections', [])
    if not models or len(collections) != 1:
        raise UserError(
            f'{str(path)!r} should have one collection, and then the line {_MODELS!r}: all below '
            'that line is written by the tool'
        )
    name = {'In Collection': collections[0]['Name']}
    entries = [entry | name for entry, _ in facts]
    text = yaml.safe_dump({'Models': entries}, sort_keys=False, allow_unicode=True)
    return f'{head[1:]}\n{text}'


def _order(facts: tuple[dict, dict]) -> tuple:
    """By data set, then by name with its numbers in order."""
    entry, row = facts
    parts = re.split(r'(\d+)', entry['Name'])
    return row['data set'], [int(part) if part.isdecimal() else part for part in parts]
