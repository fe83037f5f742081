"""Many short runs of the real tools, without importing torch for each.

One process imports everything once; every run, or every rank of one, is a fork of it.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Training:
    """A training that was started.

    Attributes:
        pid (int): Its process, that of rank 0.
        log (Path): What it prints.
    """

    def __init__(self, server: 'TrainServer', pid: int, log: Path):
        self._server, self.pid, self.log = server, pid, log

    def wait(self) -> int:
        """Its exit code, of the first rank that failed; negative the signal that ended it."""
        return next(filter(None, self._server.receive()['codes']), 0)

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

    def start(
        self,
        log: Path,
        *args,
        tool: str = 'train.py',
        cwd: Path = ROOT,
        ranks: int = 1,
        file_limit: int | None = None,
    ) -> Training:
        """Start ``tools/<tool>`` with arguments, its output going to ``log``.

        It finds modules in ``cwd``. With several ``ranks`` it gets what torchrun sets. With
        ``file_limit`` no file can grow beyond so many bytes, as on a full disk.
        """
        request = dict(
            log=str(log),
            args=[str(arg) for arg in args],
            tool=str(ROOT / 'tools' / tool),
            cwd=str(cwd),
            ranks=ranks,
            file_limit=file_limit,
        )
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


def _become(request: dict, rank: int, port: int) -> None:
    """In the fork: become ``python tools/TOOL ARGS``."""
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
    sys.argv = [request['tool'], *request['args']]
    if request['ranks'] > 1:
        names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=request['ranks'], MASTER_PORT=port)
        os.environ |= {name: str(value) for name, value in names.items()}
        os.environ['MASTER_ADDR'] = 'localhost'
        sys.argv += ['--launcher', 'pytorch']
    os.chdir(request['cwd'])
    sys.path.insert(0, request['cwd'])
    runpy.run_path(request['tool'], run_name='__main__')


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(('localhost', 0))
        return server.getsockname()[1]


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
        request, port, pids = json.loads(line), _free_port(), []
        for rank in range(request['ranks']):
            pids.append(os.fork())
            if pids[-1] == 0:
                _become(request, rank, port)
                sys.exit()
        _send(channel, dict(pid=pids[0]))
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        _send(channel, dict(codes=codes))


if __name__ == '__main__':
    _serve()
