"""Running a command-line tool as a user does, or inside this process, which is quicker."""

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_tool(name, *args, timeout=300, cwd=None):
    """Run a tool on the CPU, in a folder with modules of its own if one is given."""
    path = os.pathsep.join(map(str, filter(None, [ROOT, cwd])))
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': path}
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / name), *map(str, args)],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def call_tool(name, *args):
    """Run ``tools/<name>`` inside this process."""
    tool = ROOT / 'tools' / name
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.syspath_prepend(str(tool.parent))
        patch.setattr(sys, 'argv', [tool.name, *map(str, args)])
        try:
            runpy.run_path(str(tool), run_name='__main__')
        except SystemExit as stop:
            code = stop.code
    return subprocess.CompletedProcess(args, code or 0, out.getvalue(), errors.getvalue())


def one_error(result, *named):
    """The one line that a user's mistake ends in, with all of ``named`` in it."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert 'Traceback' not in result.stderr, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if ': error: ' in line]
    for text in named:
        assert text in line, line
    return line
