"""Keep the table of each configs/*/README.md, the models of each metafile.yml and model-index.yml.

What they say comes from the configs, the models that these build and the records. The text around a
table and the collection of a metafile are written by hand and stay. Every model is built, which for
all folders takes some minutes.
"""

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

from config_facts import config_facts
from metafile_texts import index_text, metafile_text, readme_text

from mman.utils.atomic_file import write_atomically
from mman.utils.errors import UserError, one_line_errors

ROOT = Path(__file__).resolve().parents[2]


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument('--check', action='store_true', help='print what is out of date; exit code 1')
    mode.add_argument('--write', action='store_true', help='write what is out of date')
    parser.add_argument('methods', nargs='*', help='folders below configs/ [all]')
    return parser


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


def main() -> None:
    """Check or write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        # All before the first is written: a config that fails leaves every file as it was.
        found = list(outdated(ROOT, args.methods or methods_of(ROOT)))
        for path, text in found:
            if args.write:
                write_atomically(path, text.encode())
                print(f'wrote {path.relative_to(ROOT)}')
            else:
                print(difference(path, text))
    if args.check and found:
        print(f'{len(found)} files are out of date: tools/misc/update_metafiles.py --write')
        sys.exit(1)
    print('all is up to date' if not found else f'{len(found)} files written')


if __name__ == '__main__':
    main()
