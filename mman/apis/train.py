"""Training from a config."""

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mman.engine.fault_tolerance import set_fault_tolerance
from mman.utils.build_errors import named_errors
from mman.utils.checkpoint import latest_checkpoint
from mman.utils.errors import UserError
from mman.utils.preempted import EXIT_CODE, Preempted
from mman.utils.safe_loading import restrict_loading
from mman.validation import check_amp, check_config, check_training, dry_run, read_data

from .config import set_loader_defaults
from .feature_cache import apply_feature_cache, guard_prefix
from .memory_budget import apply_memory_budget
from .phase_training import train_phases
from .phases import apply_cyclic, in_phases
from .places import held_places
from .pretrained import check_initialisation, start_from_pretrained
from .runner import build_runner


def train_model(cfg: Config, unsafe_load: bool = False) -> Runner:
    """Train what ``cfg`` describes.

    What is wrong in a config is found before data is read: first keys and
    values, then what only building shows. No other training may use the work
    dir meanwhile.

    Args:
        cfg (Config): As :func:`load_config` gives it, with ``work_dir``.
        unsafe_load (bool): Load checkpoints even if they can run code.
            Defaults to False.

    Returns:
        Runner: The Runner after training, for :func:`summarize`.

    Raises:
        UserError: Names the key, its value and what would be right; or the
            place that another training uses or that cannot be written.
    """
    restrict_loading(unsafe_load)
    check_training(cfg)
    check_config(cfg)
    check_amp(cfg)
    check_initialisation(cfg)
    set_loader_defaults(cfg)
    set_fault_tolerance(cfg)
    if not in_phases(cfg):
        apply_cyclic(cfg)
        return _train(cfg)
    with held_places(cfg):
        return train_phases(cfg, _train)


def _train(cfg: Config) -> Runner:
    """Train what a checked config describes."""
    with held_places(cfg):
        with named_errors(cfg.to_dict(), ''):
            apply_memory_budget(cfg)
            apply_feature_cache(cfg)
            runner = build_runner(cfg)
        with named_errors(runner.cfg.optim_wrapper, 'optim_wrapper'):
            # The Runner itself would build it after the data was read.
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        dry_run(runner)
        start_from_pretrained(runner)
        guard_prefix(runner)
        read_data(runner, 'train', 'val')
        runner.train()
    return runner


def train_and_tell(cfg: Config, unsafe_load: bool = False) -> int:
    """:func:`train_model`, then print what came out, once for all processes.

    No Runner is alive any more when it returns.

    Returns:
        int: 0, or 75 if a signal ended the training early.
    """
    try:
        runner = train_model(cfg, unsafe_load)
    except Preempted as stop:
        message, code = stop.message, EXIT_CODE
    else:
        message, code = summarize(runner), 0
    if is_main_process():
        print(message, flush=True)
    return code


def summarize(runner: Runner) -> str:
    """What came out of a training, and where its files are.

    Accuracies are those of the last validation; the best would be chosen by the test set.
    """
    scalars = runner.message_hub.log_scalars
    accuracies = [
        f'{name.removeprefix("val/")}: {scalars[name].data[0][-1]:.2f} (last validation)'
        for name in scalars
        if name.startswith('val/accuracy/')
    ]
    return '\n'.join(
        [
            *(accuracies or ['accuracy:   not measured: no validation has run']),
            f'work dir:   {runner.work_dir}',
            f'checkpoint: {_last_checkpoint(runner) or "none was saved"}',
            f'log:        {Path(runner.log_dir) / runner.timestamp}.log',
        ]
    )


def _last_checkpoint(runner: Runner) -> Path | str | None:
    """The record of the last checkpoint; the one resumed where the record was passed over."""
    try:
        return latest_checkpoint(runner.work_dir)
    except UserError:
        return runner._load_from
