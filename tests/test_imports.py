"""Imports point one way: registry, utils <- models, datasets <- engine <- validation <- apis."""

import ast
from pathlib import Path

import pytest

ROOT = Path('mman')
ALLOWED = {
    'version': set(),
    'utils': {'utils', 'version'},
    'registry': set(),
    'models': {'models', 'registry', 'utils'},
    'datasets': {'datasets', 'registry', 'utils'},
    'engine': {'engine', 'models', 'registry', 'utils'},
    'validation': {'validation', 'engine', 'models', 'registry', 'utils'},
    'apis': {'apis', 'datasets', 'engine', 'models', 'registry', 'utils', 'validation'},
}
# It imports every package once it is called, so that their modules register.
REGISTER_ALL = ROOT / 'utils' / 'setup_env.py'


def _imported(path: Path) -> set[str]:
    """Parts of mman that a file imports, relative imports included."""
    found = set()
    package = path.parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            base = '.'.join([*parents, *([node.module] if node.module else [])])
            found.add(base)
            found.update(f'{base}.{alias.name}' for alias in node.names)
    parts = {name.split('.')[1] for name in found if name.startswith('mman.')}
    return parts & set(ALLOWED)


FILES = [path for path in ROOT.rglob('*.py') if path.parent != ROOT and path != REGISTER_ALL]


@pytest.mark.parametrize('path', FILES, ids=str)
def test_imports_point_one_way(path):
    assert _imported(path) <= ALLOWED[path.parts[1]]


def test_the_reader_of_imports_sees_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path('mman') / 'models' / 'heads' / 'a.py'
    path.parent.mkdir(parents=True)
    path.write_text('from mman.engine import x\nfrom ..losses import y\nfrom ...apis.z import w\n')
    assert _imported(path) == {'engine', 'models', 'apis'}


def test_a_custom_head_needs_two_modules():
    """What the example imports of mman is what any user's head needs."""
    tree = ast.parse(Path('projects/example_custom_head/cosine_head.py').read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name.startswith('mman')} <= {
        'mman.registry',
        'mman.models.aux_heads',
    }
