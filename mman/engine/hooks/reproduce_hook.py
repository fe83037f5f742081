import json
from datetime import datetime
from itertools import count
from pathlib import Path

from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.models.classifiers.block_table import block_table
from mman.registry import HOOKS
from mman.utils.environment import command_line, environment
from mman.utils.unwrap import unwrap


@HOOKS.register_module()
class ReproduceHook(Hook):
    """Write down what it takes to repeat a training.

    ``reproduce.json`` beside the log of every start: the command, the config
    in full, the seed (the drawn one where none was given), the local blocks,
    versions, git commit and changed files, device and the environment
    variables that matter. An earlier file is never replaced.
    """

    # After weights and seed were resumed, and the split is known.
    priority = 'LOWEST'
    filename = 'reproduce.json'

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Write the file."""
        model = unwrap(runner.model)
        blocks = hasattr(model, 'block_units')
        record = dict(
            command=command_line(),
            started=datetime.now().astimezone().isoformat(timespec='seconds'),
            seed=runner.seed,
            randomness=dict(runner.cfg.get('randomness') or {}),
            processes=get_world_size(),
            resumed_from=runner._load_from if runner._resume else None,
            first_iteration=runner.iter + 1,
            blocks=block_table(model).splitlines() if blocks else None,
            block_ends=list(model.block_ends) if blocks else None,
            **environment(),
            config=runner.cfg.pretty_text,
        )
        text = json.dumps(record, indent=2, default=str) + '\n'
        path = Path(runner.log_dir) / self.filename
        for number in count(2):
            try:
                with path.open('x') as file:
                    file.write(text)
                return
            except FileExistsError:
                # Two starts within a second share a folder.
                path = path.with_name(f'reproduce-{number}.json')
