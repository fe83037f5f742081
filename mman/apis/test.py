"""Evaluating a checkpoint from a config."""

import pickle
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.runner import Runner

from mman.engine.hooks import CheckpointGuardHook
from mman.utils.atomic_file import write_atomically
from mman.utils.build_errors import named_errors
from mman.utils.errors import UserError
from mman.utils.random_state import unchanged_random_state
from mman.utils.safe_loading import restrict_loading
from mman.validation import (
    check_config,
    check_load_from,
    lazy_dataset,
    read_data,
    warn_of_size,
)

from .config import set_loader_defaults
from .memory_budget import apply_memory_budget
from .models import AUX_HEADS
from .places import try_place, write_errors
from .runner import build_runner


class _AtomicDump(DumpResults):
    """mmengine's DumpResults that leaves a whole file or none."""

    def compute_metrics(self, results: list) -> dict:
        write_atomically(self.out_file_path, pickle.dumps(results))
        return {}


def _warn_of_size(runner: Runner) -> None:
    val = None
    # What is wrong with the validation is of no matter here.
    with suppress(UserError), unchanged_random_state():
        if runner.cfg.get('val_dataloader') is not None:
            val = lazy_dataset(runner.cfg.val_dataloader.dataset, 'val_dataloader.dataset')
    with unchanged_random_state():
        warn_of_size(runner, getattr(runner.test_loop.dataloader, 'dataset', None), val)


def test_model(
    cfg: Config, checkpoint: str, out: str | None = None, unsafe_load: bool = False
) -> dict:
    """Evaluate a checkpoint on the test set of ``cfg``; the metrics.

    Args:
        cfg (Config): Has the test dataloader, loop and evaluator.
        checkpoint (str): The weights.
        out (str | None): A new .pkl file for the predictions. Defaults to None.
        unsafe_load (bool): Load the checkpoint even if it can run code.
            Defaults to False.

    Raises:
        UserError: Names the key, its value and what would be right; or the
            place that cannot be written.
    """
    for key in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        if cfg.get(key) is None:
            raise UserError(f'{key} is {cfg.get(key)!r} in the config; testing needs it')
    if out is not None:
        try_place(Path(out).parent, 'the folder of --out')
    restrict_loading(unsafe_load)
    if '://' in checkpoint:
        check_load_from(checkpoint, 'checkpoint')
    check_config(cfg)
    set_loader_defaults(cfg)
    apply_memory_budget(cfg)
    cfg.resume, cfg.load_from = False, checkpoint
    cfg.get('default_hooks', {}).pop('checkpoint_guard', None)
    with named_errors(cfg.to_dict(), ''):
        runner = build_runner(cfg)
    runner.register_hook(CheckpointGuardHook(allow_missing=(AUX_HEADS,)))
    if out is not None:
        runner.test_evaluator.metrics.append(_AtomicDump(out_file_path=out))
    with write_errors(cfg.work_dir):
        read_data(runner, 'test')
        _warn_of_size(runner)
        return runner.test()


# pytest collects functions of this name from the modules that import them.
test_model.__test__ = False
