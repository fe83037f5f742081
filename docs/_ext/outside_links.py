"""Links that leave docs/ become paths, since what they lead to is not part of the site.

Pages are read in the repository as well, where such links work. In the site
``[the tool](../tools/train.py)`` is shown as: the tool (``tools/train.py``).
"""

import re
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
# [text](../path) or [text](../path#heading); text without brackets.
_LINK = re.compile(r'\[([^\]]*)\]\((\.\.?/[^)\s#]*)(?:#[^)\s]*)?\)')
# Code keeps what looks like a link.
_CODE = re.compile(r'(^```.*?^```|`[^`\n]+`(?!\]))', re.MULTILINE | re.DOTALL)


def without_outside_links(text: str, folder: Path, warn: Callable[[str], None]) -> str:
    """The Markdown of a page in ``folder``, its links out of docs/ replaced by paths.

    ``warn`` is called with a line for every target that does not exist.
    """

    def replaced(link: re.Match) -> str:
        label, target = link.groups()
        path = (folder / target).resolve()
        if path.is_relative_to(DOCS):
            return link.group()
        if not path.exists():
            warn(f'{target!r} does not exist')
        name = path.relative_to(ROOT).as_posix()
        ends_so = f'/{name}'.endswith(f'/{label.strip("`/")}')
        return f'`{name}`' if ends_so else f'{label} (`{name}`)'

    pieces = _CODE.split(text)
    pieces[::2] = [_LINK.sub(replaced, piece) for piece in pieces[::2]]
    return ''.join(pieces)


def setup(app) -> dict:
    """Register with Sphinx."""
    from sphinx.util import logging

    logger = logging.getLogger(__name__)

    def read(app, name, source):
        folder = Path(app.env.doc2path(name)).parent
        source[0] = without_outside_links(
            source[0], folder, lambda message: logger.warning(message, location=name)
        )

    app.connect('source-read', read)
    return dict(parallel_read_safe=True)
