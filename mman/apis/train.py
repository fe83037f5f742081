"""Training from a config."""

from mmengine.config import Config
from mmengine.runner import Runner

from mman.engine.survival import set_survival_defaults
from mman.utils.build_errors import named_errors
from mman.utils.checkpoint import latest_checkpoint
from mman.utils.safe_loading import restrict_loading
from mman.validation import check_amp, check_config, check_training, dry_run, read_data

from .config import set_loader_defaults
from .memory_budget import apply_memory_budget
from .pretrained import check_initialisation, start_from_pretrained
from .runner import build_runner, log_file


def train_model(cfg: Config, unsafe_load: bool = False) -> Runner:
    """Train what ``cfg`` describes.

    What is wrong in a config is found before data is read: first keys and
    values, then what only building shows.

    Args:
        cfg (Config): As :func:`load_config` gives it, with ``work_dir``.
        unsafe_load (bool): Load checkpoints even if they can run code.
            Defaults to False.

    Returns:
        Runner: The Runner after training, for :func:`summarize`.

    Raises:
        UserError: Names the key, its value and what would be right.
    """
    restrict_loading(unsafe_load)
    check_training(cfg)
    check_config(cfg)
    check_amp(cfg)
    check_initialisation(cfg)
    set_loader_defaults(cfg)
    set_survival_defaults(cfg)
    with named_errors(cfg.to_dict(), ''):
        apply_memory_budget(cfg)
        runner = build_runner(cfg)
        # The Runner itself would build it after the data was read.
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    dry_run(runner)
    start_from_pretrained(runner)
    read_data(runner, 'train', 'val')
    runner.train()
    return runner


def summarize(runner: Runner) -> str:
    """What came out of a training, and where its files are."""
    lines = _accuracies(runner) or ['accuracy:   not measured: no validation has run']
    return '\n'.join(
        [
            *lines,
            f'work dir:   {runner.work_dir}',
            f'checkpoint: {latest_checkpoint(runner.work_dir) or "none was saved"}',
            f'log:        {log_file(runner)}',
        ]
    )


def _accuracies(runner: Runner) -> list[str]:
    """Accuracies of the last validation; the best would be chosen by the test set."""
    lines = []
    for name, scalar in runner.message_hub.log_scalars.items():
        if name.startswith('val/accuracy/'):
            values, _ = scalar.data
            kind = name.removeprefix('val/')
            lines.append(f'{kind}: {values[-1]:.2f} (last validation)')
    return lines
