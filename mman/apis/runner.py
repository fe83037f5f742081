"""Building the Runner of a config."""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner


def build_runner(cfg: Config) -> Runner:
    """Build the Runner that ``cfg`` describes.

    Whatever a launcher needs before a Runner exists belongs here: it is the
    one place where the tools build one.
    """
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def log_file(runner: Runner) -> Path:
    """The text log of this run."""
    return Path(runner.log_dir) / f'{runner.timestamp}.log'
