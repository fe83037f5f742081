"""Building the Runner of a config."""

from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mman.utils.quiet import shorten_console
from mman.utils.safe_loading import restrict_loading

from .distributed import join_processes
from .places import write_errors


class _BriefRunner(Runner):
    """A Runner that writes long lists into its log file only."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        shorten_console(logger)
        return logger


def build_runner(cfg: Config) -> Runner:
    """Build the Runner that ``cfg`` describes, in the processes of its launcher.

    Raises:
        UserError: If the work dir cannot be written.
    """
    restrict_loading()
    join_processes(cfg)
    with write_errors(cfg.work_dir):
        return RUNNERS.build(cfg) if 'runner_type' in cfg else _BriefRunner.from_cfg(cfg)
