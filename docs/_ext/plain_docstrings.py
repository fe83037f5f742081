"""Docstrings are plain text with roles: a star is a star, and a summary is no type."""

import re

# '*' before a word, but not the name of an argument at the start of a line.
_STAR = re.compile(r'(?<=[^\s*\\])(\s*)\*(?=\w)')
# 'num_blocks (int): K.' would be described by an empty list, numbered by letters.
_LETTER = re.compile(r'(\): )(?=\w\.)')
_TYPE = ':type: '


def without_emphasis(line: str) -> str:
    """A line whose single stars are escaped, literals left alone."""
    pieces = line.split('``')
    pieces[::2] = [_STAR.sub(r'\1\\*', piece) for piece in pieces[::2]]
    return '``'.join(pieces)


def without_numbering(line: str) -> str:
    """A line whose description is not taken for the first item of a list."""
    return _LETTER.sub(r'\1\\', line)


def with_whole_summary(lines: list[str]) -> list[str]:
    """The lines that napoleon makes of a property, with what it took for a type put back."""
    types = [line for line in lines if line.startswith(_TYPE)]
    if not types:
        return lines
    rest = [line for line in lines if line not in types]
    return [f'{types[0].removeprefix(_TYPE)}: {rest[0]}', *rest[1:]]


def setup(app) -> dict:
    """Register with Sphinx, ahead of napoleon, whose priority is 500, and after it."""

    def before(app, what, name, obj, options, lines):
        lines[:] = [without_numbering(without_emphasis(line)) for line in lines]

    def after(app, what, name, obj, options, lines):
        # Of 'Labels: class indices' napoleon makes the type Labels.
        if what in ('attribute', 'data', 'property'):
            lines[:] = with_whole_summary(lines)

    app.connect('autodoc-process-docstring', before, priority=400)
    app.connect('autodoc-process-docstring', after, priority=600)
    return dict(parallel_read_safe=True)
