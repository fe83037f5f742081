"""One training after the other, each of a phase, and the record of what is done."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from mman.utils import UserError
from mman.utils.atomic_file import write_atomically
from mman.utils.checkpoint import latest_checkpoint
from mman.validation import check_config

from .config import set_resume
from .distributed import launcher_rank
from .phases import Phase, make_phases, phase_config, validate_at

RECORD = 'phases.json'


def train_phases(cfg: Config, train: Callable[[Config], Runner]) -> Runner:
    """Train the phases of a config, each from the weights of the one before.

    Phase n has the folder ``phaseN`` in the work dir, with its log, checkpoints
    and, while it trains, its optimizers' state; its random numbers start from the
    seed, as if it were trained alone. ``phases.json`` says which are done.
    With ``cfg.resume`` those are passed over, and the first other one goes on
    from its last checkpoint.

    Args:
        cfg (Config): With ``phases`` and ``work_dir``, which is held.
        train (Callable): Trains the config of one phase.

    Returns:
        Runner: That of the last phase.

    Raises:
        UserError: If phases are wrong, or those done are others.
    """
    phases = make_phases(cfg)
    record = _Record(cfg, phases)
    configs = [phase_config(cfg, phases, number) for number in range(len(phases))]
    for one in configs:
        check_config(one)
    runner = None
    # Of those done the last one tells what came out.
    for number in range(min(len(record.done), len(phases) - 1), len(phases)):
        # No two Runners are alive together.
        runner = None
        one = configs[number]
        told = validate_at(one, phases[number].blocks)
        record.start(one, number)
        if launcher_rank(cfg) == 0:
            heading = f'phase {number} of {len(phases)}: {phases[number]}'
            print('; '.join([heading, *([told] if told else [])]), flush=True)
        runner = train(one)
        record.close(number)
    return runner


class _Record:
    """Which phases of a work dir are done, and the checkpoint that each has left.

    Raises:
        UserError: If the work dir has a record that this training does not go on from.
    """

    def __init__(self, cfg: Config, phases: Sequence[Phase]):
        self.folder = Path(cfg.work_dir)
        self.resumed = bool(cfg.get('resume'))
        self.writes = launcher_rank(cfg) == 0
        self.path = self.folder / RECORD
        self.planned = [phase.described() for phase in phases]
        self.done: list[str] = []
        if not self.path.is_file():
            return
        if not self.resumed:
            raise UserError(
                f'work_dir {str(self.folder)!r} holds the phases of an earlier training: give '
                '--resume to go on with it, or another --work-dir'
            )
        content = self._read()
        self.done = content['done']
        for number, before in enumerate(content['phases'][: len(self.done)]):
            now = self.planned[number] if number < len(self.planned) else None
            if before != now:
                raise UserError(
                    f'phase {number} in {str(self.path)!r} is done and was {before}; now it would '
                    f'be {now}: set phases back, or give another --work-dir'
                )

    def start(self, one: Config, number: int) -> None:
        """Let a phase start from the weights of the one before, or go on from its own."""
        one.resume = False
        if number:
            one.load_from = str(self.folder / self.done[number - 1])
        folder = Path(one.work_dir)
        if self.resumed and folder.is_dir():
            set_resume(one, True)
        if self.writes:
            folder.mkdir(parents=True, exist_ok=True)
            self._write()

    def close(self, number: int) -> None:
        """Keep the checkpoint that a phase has left."""
        checkpoint = latest_checkpoint(self.folder / f'phase{number}').absolute()
        folder = self.folder.absolute()
        inside = checkpoint.is_relative_to(folder)
        name = checkpoint.relative_to(folder) if inside else checkpoint
        self.done = [*self.done[:number], str(name)]
        if self.writes:
            self._write()
            # Whoever asks for the last checkpoint of the work dir is given this one.
            write_atomically(self.folder / 'last_checkpoint', str(checkpoint).encode())

    def _read(self) -> dict:
        try:
            content = json.loads(self.path.read_text())
            phases, done = content['phases'], content['done']
            if isinstance(phases, list) and len(phases) >= len(done):
                return content
        except (ValueError, KeyError, TypeError):
            pass
        raise UserError(
            f'{str(self.path)!r} is no record of phases; remove it and the folders of phases '
            'beside it to start anew'
        )

    def _write(self) -> None:
        text = json.dumps(dict(phases=self.planned, done=self.done), indent=2)
        write_atomically(self.path, text.encode())
