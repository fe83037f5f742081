"""Many short trainings by the real tools/train.py, without importing torch for each.

One process imports everything once; every training is a fork of it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TRAIN = ROOT / 'tools' / 'train.py'


class Training:
    """A training that was started.

    Attributes:
        pid (int): Its process.
        log (Path): What it prints.
    """

    def __init__(self, server: 'TrainServer', pid: int, log: Path):
        self._server, self.pid, self.log = server, pid, log

    def wait(self) -> int:
        """Its exit code; negative the signal that ended it."""
        return self._server.receive()['code']

    @property
    def output(self) -> str:
        """All it has printed."""
        return self.log.read_text() if self.log.exists() else ''


class TrainServer:
    """Starts trainings, one at a time."""

    def __enter__(self):
        environment = {
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'CUDA_VISIBLE_DEVICES': '',
            'OMP_NUM_THREADS': '1',
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.receive() == 'ready'
        return self

    def __exit__(self, *args):
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def start(self, log: Path, *args, file_limit: int | None = None) -> Training:
        """Start ``tools/train.py`` with arguments, its output going to ``log``.

        With ``file_limit`` no file can grow beyond so many bytes, as on a full disk.
        """
        request = dict(log=str(log), args=[str(arg) for arg in args], file_limit=file_limit)
        self._process.stdin.write(json.dumps(request) + '\n')
        self._process.stdin.flush()
        return Training(self, self.receive()['pid'], log)

    def run(self, log: Path, *args, **kwargs) -> tuple[int, str]:
        """Exit code and output of a whole training."""
        training = self.start(log, *args, **kwargs)
        return training.wait(), training.output

    def receive(self):
        """The server's next message."""
        line = self._process.stdout.readline()
        assert line, 'the training server has ended'
        return json.loads(line)


def _send(channel, message) -> None:
    print(json.dumps(message), file=channel, flush=True)


def _train(request: dict) -> None:
    """In the fork: become ``python tools/train.py ARGS``."""
    import resource
    import runpy

    if request['file_limit'] is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request['file_limit'], hard))
    # A process group of its own, as a shell gives it.
    os.setsid()
    log = os.open(request['log'], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = [str(_TRAIN), *request['args']]
    runpy.run_path(str(_TRAIN), run_name='__main__')


def _serve() -> None:
    # Some libraries print when they are imported.
    channel = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    import sklearn.datasets  # noqa: F401
    from mmengine.runner import runner

    import mman.apis  # noqa: F401
    from mman.registry import register_all_modules

    register_all_modules()
    # The log's list of versions, for which mmengine starts compilers.
    environment = runner.collect_env()
    runner.collect_env = lambda: environment
    _send(channel, 'ready')
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _train(json.loads(line))
            os._exit(0)
        _send(channel, dict(pid=pid))
        _, status = os.waitpid(pid, 0)
        _send(channel, dict(code=os.waitstatus_to_exitcode(status)))


if __name__ == '__main__':
    _serve()
