"""Spoiling every key of real configs, one at a time, and seeing what comes of it.

``python -m tests.helpers.config_fuzz --all`` tries all of them and lists what
neither trains nor ends in one line that names the key.
"""

import argparse
import contextlib
import copy
import io
import json
import math
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensor

from tests.helpers import fuzz_bases

NAN, INF, HUGE = float('nan'), float('inf'), 10**13
# An innocent config's time is a second.
_TIME_LIMIT = 60
_MEMORY_LIMIT = 24 * 2**30
_ENOUGH = 3


@dataclass(frozen=True)
class Mutation:
    """One change of one config.

    Args:
        base (str): Name of the config.
        path (tuple): Keys and places that lead to what is changed.
        kind (str): 'misspelt', 'surplus', 'deleted', 'unregistered' or 'value';
            'untouched' changes nothing.
        value (str): The new value as Python writes it, for 'value' alone.
    """

    base: str
    path: tuple
    kind: str
    value: str = ''

    def __str__(self) -> str:
        place = '.'.join(map(str, self.path))
        return f'{self.base}: {place} {self.kind} {self.value}'.rstrip()

    def apply(self) -> dict:
        """The spoilt config."""
        tree = copy.deepcopy(fuzz_bases.base(self.base))
        if self.kind == 'untouched':
            return tree
        *parents, key = self.path
        node = tree
        for parent in parents:
            node = node[parent]
        if self.kind == 'misspelt':
            node[misspelt(key)] = node.pop(key)
        elif self.kind == 'surplus':
            node[key] = 1
        elif self.kind == 'deleted':
            del node[key]
        elif self.kind == 'unregistered':
            node[key] += 'X'
        else:
            node[key] = eval(self.value, dict(nan=NAN, inf=INF))
        return tree

    def names(self) -> set[str]:
        """Words of which an error must have one."""
        keys = [key for key in self.path if isinstance(key, str)]
        found = {keys[-1], '.'.join(keys)}
        if self.kind == 'misspelt':
            found.add(misspelt(keys[-1]))
        if self.kind == 'deleted' and len(keys) > 1:
            # Its default may be right, and the error is about what does not fit it.
            found |= {keys[-2], keys[0]}
        return found


def untouched() -> list[Mutation]:
    """The configs as they are, which must train."""
    return [Mutation(name, (), 'untouched') for name in fuzz_bases.NAMES]


def misspelt(key: str) -> str:
    """A key with two letters swapped, or one dropped; which depends on the key."""
    place = zlib.crc32(key.encode()) % max(len(key) - 1, 1)
    swapped = key[:place] + key[place : place + 2][::-1] + key[place + 2 :]
    if len(key) > 3 and (swapped == key or place % 2):
        return key[:place] + key[place + 1 :]
    return swapped if swapped != key else f'{key}_'


def mutations(name: str, node: Any, path: tuple) -> Iterator[Mutation]:
    """All changes of a part of a config, found at ``path``."""
    if isinstance(node, dict):
        yield Mutation(name, (*path, 'surplus_key'), 'surplus')
        for key, value in node.items():
            here = (*path, key)
            yield Mutation(name, here, 'misspelt')
            yield Mutation(name, here, 'deleted')
            if key == 'type':
                yield Mutation(name, here, 'unregistered')
            for text in _wrong_values(value):
                yield Mutation(name, here, 'value', text)
            yield from mutations(name, value, here)
    elif isinstance(node, list):
        for place, value in enumerate(node[:2]):
            for text in _wrong_values(value):
                yield Mutation(name, (*path, place), 'value', text)
            yield from mutations(name, value, (*path, place))


def _wrong_values(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["'text'", 'None', '[]', '5', 'nan']
    if isinstance(value, int):
        return ["'3'", '[1, 2]', 'None', '{}', '-7', '0', str(HUGE), 'nan', 'inf', '2.5', 'True']
    if isinstance(value, float):
        return ["'3'", '[1.0]', 'None', '{}', '-0.5', '0', '1e30', 'nan', 'inf', 'True']
    if isinstance(value, str):
        return ['5', 'None', '[]', 'True', repr(value + 'X'), "''"]
    if isinstance(value, list):
        return ["'text'", '3', 'None', '{}', '[]', '[nan]']
    if isinstance(value, dict):
        return ['[1]', "'text'", 'None', '3', '{}']
    return ["'text'", '-7', '[1]', '{}']


def all_mutations() -> list[Mutation]:
    """Every change of every config, those of parts that several share once."""
    seen, found = set(), []
    for name in fuzz_bases.NAMES:
        tree = fuzz_bases.base(name)
        for mutation in mutations(name, tree, ()):
            node = tree
            for key in mutation.path[:-1]:
                node = node[key]
            kind = str(node.get('type') if isinstance(node, dict) else node)
            known = (mutation.path, mutation.kind, mutation.value, kind, len(node))
            if known not in seen:
                seen.add(known)
                found.append(mutation)
    return found


def sample() -> list[Mutation]:
    """Some of all changes: every key once, by turns all kinds of change."""
    by_key: dict[tuple, list[Mutation]] = {}
    for mutation in all_mutations():
        plain = tuple(key for key in mutation.path if isinstance(key, str))
        by_key.setdefault(plain, []).append(mutation)
    return [many[number * 7 % len(many)] for number, many in enumerate(by_key.values())]


@dataclass
class Outcome:
    """What came of a config.

    Args:
        verdict (str): 'refused' or 'trained', which are right; else what is not.
        message (str): The error.
    """

    verdict: str
    message: str = ''

    @property
    def right(self) -> bool:
        """Whether it is as it should be."""
        return self.verdict in ('refused', 'trained')


class _Enough(BaseException):
    """The training has run for long enough."""


class _TooLong(BaseException):
    """A case did not come to its end."""


class Fuzzer:
    """Runs spoilt configs in this process, in a folder of their own.

    Args:
        folder (Path): Where configs and work dirs go.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.loads = 0
        self.losses: list[float] = []
        _forget()
        fuzz_bases.write_plain_weights(folder / 'plain.pth')

    def run(self, mutation: Mutation) -> Outcome:
        """Train a spoilt config as tools/train.py does, and judge what came of it."""
        path = self.folder / 'spoilt.json'
        path.write_text(json.dumps(mutation.apply()))
        return judge(mutation, *self.outcome_of(path))

    def outcome_of(self, path: Path) -> tuple[BaseException | None, int, list[float]]:
        """The error, how often data was read before it, and the losses."""
        self.loads, self.losses, error = 0, [], None
        with self._watched(), contextlib.chdir(self.folder):
            try:
                _train(path)
            except _Enough:
                pass
            except (Exception, SystemExit, _TooLong) as caught:
                error = caught
        return error, self.loads, self.losses

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Count reads of data and note losses; leave out what is slow and of no matter."""
        from mmengine.config import Config

        from mman.datasets import Digits
        from mman.models import LocalImageClassifier

        read, step = Digits.load_data_list, LocalImageClassifier.train_step

        def counted(dataset):
            self.loads += 1
            return read(dataset)

        def noted(model, *args, **kwargs):
            if isinstance(next(model.parameters()), FakeTensor):
                return step(model, *args, **kwargs)
            if len(self.losses) == _ENOUGH:
                raise _Enough
            logged = step(model, *args, **kwargs)
            self.losses.append(float(logged['loss']) + float(model.block_losses.sum()))
            return logged

        with (
            mock.patch.object(Digits, 'load_data_list', counted),
            mock.patch.object(LocalImageClassifier, 'train_step', noted),
            mock.patch('mmengine.runner.runner.collect_env', dict),
            mock.patch.object(Config, 'pretty_text', ''),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
            _limits(),
        ):
            warnings.simplefilter('ignore')
            yield
        _forget()


def judge(
    mutation: Mutation, error: BaseException | None, loads: int, losses: list[float]
) -> Outcome:
    """Whether a spoilt config ended as it should."""
    from mman.utils import UserError

    trained = bool(losses) and math.isfinite(losses[0])
    if error is None:
        if not trained:
            return Outcome('no training', f'losses {losses}')
        if mutation.kind == 'misspelt' or (mutation.kind == 'surplus' and len(mutation.path) > 1):
            return Outcome('trained' if _is_free(mutation.path) else 'ignored')
        return Outcome('trained')
    text = str(error)
    if mutation.kind == 'untouched':
        return Outcome('no training', repr(error))
    if not isinstance(error, UserError):
        last = traceback.format_exception(error)[-3:]
        return Outcome('traceback', ''.join(last)[-700:])
    if trained and 'was not finite' in text:
        return Outcome('trained', text)
    if '\n' in text:
        return Outcome('many lines', text)
    if not any(
        re.search(rf'(?<![\w]){re.escape(name)}(?![\w])', text) for name in mutation.names()
    ):
        return Outcome('key not named', text)
    return Outcome('late' if loads else 'refused', text)


def _is_free(path: tuple) -> bool:
    """Whether names there are the user's own."""
    return (
        path[0] == 'my_own_variable'
        or path[:3] == ('optim_wrapper', 'paramwise_cfg', 'custom_keys')
        or path[:2] == ('default_hooks',)
        or path[:3] == ('model', 'backbone', 'arch')
    )


def _train(path: Path) -> None:
    """As tools/train.py."""
    from mman import apis

    cfg = apis.load_config(str(path))
    cfg.launcher = cfg.get('launcher', 'none')
    apis.set_work_dir(cfg, None, str(path))
    apis.set_resume(cfg, None)
    apis.set_seed(cfg, None)
    apis.set_amp(cfg, False)
    apis.set_auto_scale_lr(cfg, False)
    apis.train_model(cfg)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Little time, and no more memory than a small machine has."""

    def stop(*_):
        raise _TooLong(f'more than {_TIME_LIMIT} s')

    before = resource.getrlimit(resource.RLIMIT_AS)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGALRM, signal.SIGTERM, signal.SIGUSR1)}
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(_TIME_LIMIT)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _forget() -> None:
    """Undo what a Runner leaves in the process."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer
    from mmpretrain.visualization import UniversalVisualizer

    from mman.registry import register_all_modules

    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for kind in (MMLogger, MessageHub, DefaultScope, Visualizer, UniversalVisualizer):
        kind._instance_dict.clear()
    torch.use_deterministic_algorithms(False)
    register_all_modules()


def _work(part: list[Mutation]) -> list[tuple[Mutation, Outcome]]:
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder))
        for mutation in part:
            start = time.monotonic()
            found.append((mutation, fuzzer.run(mutation)))
            if time.monotonic() - start > 10:
                print('slow:', mutation, file=sys.stderr, flush=True)
    return found


def run_all(chosen: list[Mutation], jobs: int = 2) -> Iterator[tuple[Mutation, Outcome]]:
    """Run configs in processes of their own, and give what came of them as it comes."""
    parts = [chosen[start : start + 25] for start in range(0, len(chosen), 25)]
    with get_context('spawn').Pool(jobs) as pool:
        for results in pool.imap_unordered(_work, parts):
            yield from results


def main() -> None:
    """Try all changes, or some, and print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--all', action='store_true', help='every change, not a sample')
    parser.add_argument('--only', default='', help='those whose line has this regular expression')
    parser.add_argument('--jobs', type=int, default=2, help='processes [2]')
    parser.add_argument('--show', action='store_true', help='print all outcomes')
    args = parser.parse_args()
    chosen = all_mutations() if args.all else sample()
    chosen = [m for m in chosen if re.search(args.only, str(m))]
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    verdicts: Counter = Counter()
    for mutation, outcome in run_all(chosen, args.jobs):
        verdicts[outcome.verdict] += 1
        if args.show or not outcome.right:
            print(f'{outcome.verdict}: {mutation}\n    {outcome.message}', flush=True)
    print(f'{len(chosen)} changes: {dict(verdicts)}')


if __name__ == '__main__':
    main()
