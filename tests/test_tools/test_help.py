"""Every tool and benchmark says what it does and takes."""

import ast
import re
import runpy

import pytest

from tests.helpers.run_tool import ROOT, call_tool

SCRIPTS = sorted(
    path.relative_to(ROOT / 'tools')
    for path in (ROOT / 'tools').rglob('*.py')
    if "__name__ == '__main__'" in path.read_text()
)
SHELL_SCRIPTS = sorted((ROOT / 'tools').glob('*.sh'))


def test_the_tools_are_found():
    assert {'train.py', 'test.py', 'misc/print_split.py'} <= {str(path) for path in SCRIPTS}


@pytest.mark.parametrize('script', SCRIPTS, ids=str)
def test_help(script):
    result = call_tool(script, '--help')
    assert result.returncode == 0 and not result.stderr
    docstring = ast.get_docstring(ast.parse((ROOT / 'tools' / script).read_text()))
    purpose = docstring.split('\n\n')[0]
    assert ' '.join(purpose.split()) in ' '.join(result.stdout.split())


@pytest.mark.parametrize('script', SCRIPTS, ids=str)
def test_every_argument_is_explained(script, monkeypatch):
    tool = ROOT / 'tools' / script
    monkeypatch.syspath_prepend(str(tool.parent))
    parser = runpy.run_path(str(tool))['build_parser']()
    assert not [action.dest for action in parser._actions if not action.help]


@pytest.mark.parametrize('script', SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_say_how_they_are_used(script):
    assert re.search(r'^# usage: tools/', script.read_text(), re.MULTILINE)
