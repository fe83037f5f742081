"""The command `mman`, and what it takes to start it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mman.cli.main import COMMANDS, TOOLS, main

LIGHT = """
import runpy, sys
sys.argv = {argv!r}
try:
    {call}
except SystemExit as stop:
    assert (stop.code or 0) == {code}, stop.code
heavy = {{'torch', 'mmpretrain', 'matplotlib', 'mman.apis'}} & set(sys.modules)
assert not heavy, heavy
"""


def test_every_tool_has_a_command():
    tools = {str(path.relative_to(TOOLS)) for path in TOOLS.rglob('*.py')}
    # It keeps the repository's own files.
    assert tools - {'misc/update_metafiles.py'} == set(COMMANDS.values())


def test_the_links_lead_to_the_repository():
    root = Path(__file__).resolve().parents[2]
    for name in ('tools', 'configs', 'model-index.yml'):
        assert (root / 'mman' / '.mim' / name).resolve() == root / name


def test_help_lists_the_commands(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mman'])
    with pytest.raises(SystemExit, match='0'):
        main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith('  ')][-len(COMMANDS) :] == list(
        COMMANDS
    )


@pytest.mark.parametrize(
    ('argv', 'code'),
    [
        (['mman', '--help'], 0),
        (['mman', 'train', '--help'], 0),
        (['mman', 'plan', 'config.py', '--batch', '1'], 2),
        (['mman', 'exits', '--wrong'], 2),
        (['mman', 'trian'], 2),
        (['mman', 'list', 'man/'], 0),
    ],
    ids=['help', 'help of one', 'wrong batch', 'wrong option', 'wrong command', 'list'],
)
def test_arguments_are_parsed_before_anything_heavy_is_imported(argv, code):
    call = 'from mman.cli import main; main()'
    program = LIGHT.format(argv=argv, code=code, call=call)
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.full
def test_ctrl_c_ends_a_command_in_one_line():
    command = ['plan', 'man/resnet20_k10_digits', '--batch', '4']
    program = [sys.executable, '-c', 'from mman.cli.main import main; main()', *command]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        # It has begun to predict.
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        told = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert told[-1] == 'mman plan: interrupted' and 'Traceback' not in ''.join(told)


def test_import_mman_imports_no_torch():
    program = 'import mman, sys; assert "torch" not in sys.modules'
    subprocess.run([sys.executable, '-c', program], check=True)
