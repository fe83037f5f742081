"""Building the Runner of a config."""

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mman.utils.safe_loading import restrict_loading

from .distributed import join_processes
from .places import write_errors


def build_runner(cfg: Config) -> Runner:
    """Build the Runner that ``cfg`` describes, in the processes of its launcher.

    Raises:
        UserError: If the work dir cannot be written.
    """
    restrict_loading()
    join_processes(cfg)
    with write_errors(cfg.work_dir):
        return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
