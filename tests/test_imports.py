"""Imports point one way, the way of docs/design.md, and never in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

BASE = {'registry', 'utils', 'version'}
MODELS = {*BASE, 'models'}
ENGINE = {*MODELS, 'engine'}
APIS = {*ENGINE, 'datasets', 'validation', 'apis'}
# What the modules of each part may import; a part that is not named here may not be there.
ALLOWED = {
    '': {'utils', 'version'},
    'version': set(),
    'registry': set(),
    'utils': {'utils', 'version'},
    'datasets': {*BASE, 'datasets'},
    'models': MODELS,
    'engine': ENGINE,
    'validation': {*ENGINE, 'validation'},
    'apis': APIS,
    'analysis': {*APIS, 'analysis'},
    'export': {*APIS, 'export'},
    'cli': {*APIS, 'analysis', 'export', 'cli'},
}
SCRIPTS = sorted(Path('tools').rglob('*.py'))


def read_imports(package: Path) -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports, within functions too.

    A name imported from a package counts as its module of that name, or else as the package.
    """
    files = {_module(path, package): path for path in package.rglob('*.py')}
    return {
        module: {
            _known(name, files)
            for node in ast.walk(ast.parse(path.read_text()))
            for name in _names(node, _module(path.parent / '__init__.py', package))
            if name.split('.')[0] == package.name
        }
        for module, path in files.items()
    }


def _module(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def _names(node: ast.AST, package: str) -> list[str]:
    """What a statement imports, relative imports resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parents = package.split('.')
    above = parents[: len(parents) - node.level + 1] if node.level else []
    base = '.'.join([*above, *([node.module] if node.module else [])])
    return [f'{base}.{alias.name}' for alias in node.names]


def _known(name: str, files: dict[str, Path]) -> str:
    while name not in files:
        name = name.rpartition('.')[0]
    return name


def part(module: str) -> str:
    """The part of mman that a module belongs to, '' for the package's own face."""
    return module.split('.')[1] if '.' in module else ''


def test_imports_point_one_way():
    found = read_imports(Path('mman'))
    assert len(found) > 100
    wrong = [
        f'{module} imports {other}'
        for module, others in found.items()
        for other in others
        # The face of mman, for its version, is always there.
        if other != 'mman' and part(other) not in ALLOWED.get(part(module), ())
    ]
    assert not wrong


def test_there_are_no_cycles():
    """But for the faces of packages, which Python runs before any of their modules."""
    found = read_imports(Path('mman'))
    TopologicalSorter({module: others - {'mman'} for module, others in found.items()}).prepare()


def test_the_reader_of_imports_sees_them(tmp_path):
    package = tmp_path / 'pack'
    (package / 'a' / 'b').mkdir(parents=True)
    for name, text in {
        '__init__.py': 'from .a import x',
        'a/__init__.py': '',
        'a/b/__init__.py': 'from ..c import y',
        'a/b/d.py': 'import torch\nfrom ... import e\ndef f():\n    import pack.a.c\n',
        'a/c.py': 'if True:\n    from pack.a import z, b\n',
        'e.py': 'from packed import g',
    }.items():
        (package / name).write_text(text)
    found = read_imports(package)
    assert found == {
        'pack': {'pack.a'},
        'pack.a': set(),
        'pack.a.b': {'pack.a.c'},
        'pack.a.b.d': {'pack.e', 'pack.a.c'},
        'pack.a.c': {'pack.a', 'pack.a.b'},
        'pack.e': set(),
    }
    with pytest.raises(CycleError):
        TopologicalSorter(found).prepare()


def test_tools_are_scripts():
    """Each has a main, imports no other, and leaves the work to mman."""
    names = {path.stem for path in SCRIPTS}
    assert SCRIPTS
    for path in SCRIPTS:
        text = path.read_text()
        assert "__name__ == '__main__'" in text, path
        assert len(text.splitlines()) <= 50, path
        tree = ast.parse(text)
        assert any(getattr(node, 'name', '') == 'main' for node in tree.body), path
        imported = {name for node in ast.walk(tree) for name in _names(node, 'tools')}
        packages = {name.split('.')[0] for name in imported}
        assert 'mman' in packages and not packages & (names | {'tools'}), path


def test_a_custom_head_needs_two_modules():
    """What the example imports of mman is what any user's head needs."""
    tree = ast.parse(Path('projects/example_custom_head/cosine_head.py').read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name.startswith('mman')} <= {
        'mman.registry',
        'mman.models.aux_heads',
    }
