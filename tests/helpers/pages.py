"""The pages of the documentation: their code blocks, commands and links."""

import re
import shlex
from pathlib import Path

from mman.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
PAGES = sorted(path for path in DOCS.rglob('*.md') if '_build' not in path.parts)
README = ROOT / 'README.md'

_FENCE = re.compile(r'^```(\w*)\n(.*?)^```', re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r'`((?:python|mman) [^`\n]+)`')
_COMMAND = re.compile(r'(?:^|\s)mman ([a-z][\w-]*)(.*)')
_PYTHON = re.compile(r'(?:^|\s)python ((?:tools|benchmarks)/\S+\.py)(.*)')


def page_id(path: Path) -> str:
    """Its path in the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    """Fenced blocks of one language, in order."""
    return [text for kind, text in _FENCE.findall(path.read_text()) if kind == language]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub('', path.read_text())


def shell_lines(path: Path) -> list[str]:
    """Commands of the shell blocks, continued lines joined and comments left out."""
    lines = []
    for block in blocks(path, 'shell'):
        # A second line of options may be indented instead of continued.
        joined = re.sub(r'\\?\n\s+', ' ', block)
        lines += [re.sub(r'\s#( .*)?$', '', line).strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith('#')]


def tool_calls(path: Path) -> list[tuple[str, str]]:
    """(script, arguments) of every command on a page, in blocks and in the text."""
    calls = []
    for line in [*shell_lines(path), *_INLINE.findall(prose(path))]:
        calls += _PYTHON.findall(line)
        calls += [(f'tools/{COMMANDS[name]}', rest) for name, rest in _COMMAND.findall(line)]
    return calls


def arguments(text: str) -> list[str]:
    """Arguments of a call as a shell splits them; brackets of what is optional are left out."""
    text = text.partition('||')[0]
    if re.search(r'\s\[', text) or text.rstrip().endswith(']'):
        text = re.sub(r'(?<=\s)\[|\](?=\s|$)', '', text)
    # 'KEY=VALUE ...' is one pair and more; another '...' stands for a value.
    return shlex.split(re.sub(r'(=\S+) \.\.\.', r'\1', text))


def files_of(path: Path) -> dict[str, str]:
    """The files that a page tells to write: a Python block whose first line is its path."""
    found = {}
    for block in blocks(path, 'python'):
        name = re.match(r'# (my_project/\S+\.py)\n', block)
        if name:
            found[name[1]] = block
    return found


def snippets_of(path: Path) -> list[str]:
    """The other Python blocks of a page."""
    return [b for b in blocks(path, 'python') if not b.startswith('# my_project/')]


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a page, as viewers of Markdown make them."""
    titles = re.findall(r'^#+ (.+)$', prose(path), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a page, without those to other sites."""
    found = re.findall(r'\]\(([^)\s]+)\)', prose(path))
    return [target for target in found if '://' not in target]
