"""Keep the table of each configs/*/README.md, the models of each metafile.yml and model-index.yml.

Every model is built, which for all folders takes some minutes.
"""

import argparse
import sys
from pathlib import Path

from mman.analysis.metafiles import difference, methods_of, outdated
from mman.utils.atomic_file import write_atomically
from mman.utils.errors import one_line_errors

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
            print(f'wrote {path.relative_to(ROOT)}' if args.write else difference(path, text))
    if args.check and found:
        print(f'{len(found)} files are out of date: tools/misc/update_metafiles.py --write')
        sys.exit(1)
    print('all is up to date' if not found else f'{len(found)} files written')


if __name__ == '__main__':
    main()
