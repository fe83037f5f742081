from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner

from mman.registry import HOOKS
from mman.utils import UserError, integer_from
from mman.utils.atomic_backend import ATOMIC
from mman.utils.atomic_file import write_atomically
from mman.utils.signature import signature_of

_RECORD = 'last_checkpoint'


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's CheckpointHook that never leaves less than it found.

    A local checkpoint is written under another name, forced to the disk,
    verified and renamed; then ``last_checkpoint`` moves to it; and only then
    are older ones removed. Before every save the custom hook point
    ``before_checkpoint`` is called on all ranks, where a hook may collect what
    it adds to the checkpoint, or refuse by raising.

    Args:
        **kwargs: As in mmengine: ``interval``, ``by_epoch``,
            ``max_keep_ckpts``, ``save_best``, ``out_dir`` and so on. With
            ``backend_args`` or ``file_client_args`` the file is written as
            that backend writes.

    Raises:
        UserError: If a key is unknown, ``interval`` or ``max_keep_ckpts`` is no integer,
            ``filename_tmpl`` gives all checkpoints one name, or, in training, if a file cannot
            be written. Earlier ones are kept then.
    """

    preempted = 'preempted.pth'

    # Whoever reads the signature finds mmengine's keys.
    @wraps(_CheckpointHook.__init__)
    def __init__(self, **kwargs):
        # mmengine keeps what it does not know for the first save, which would fail on it.
        known = signature_of(_CheckpointHook).parameters
        for key in kwargs.keys() - known.keys():
            raise UserError(
                f'default_hooks.checkpoint has the unknown key {key!r} (value {kwargs[key]!r}): '
                f'CheckpointHook knows {", ".join(known)}'
            )
        for key in ('interval', 'max_keep_ckpts'):
            integer_from(-1, f'default_hooks.checkpoint.{key}', kwargs.get(key, -1))
        _check_name(kwargs.get('filename_tmpl'))
        super().__init__(**kwargs)
        self.saved_iter = -1

    def before_train(self, runner: Runner) -> None:
        """Find the place for checkpoints."""
        super().before_train(runner)
        local = isinstance(self.file_backend, LocalBackend)
        if local and self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC)

    def save_preempted(self, runner: Runner, epoch: int, iteration: int) -> str:
        """Save all that a resume needs, whatever the interval, as ``preempted.pth``; its path.

        All ranks must call it, with the complete epochs and iterations. The next
        checkpoint at its regular time takes its place.
        """
        path = self._save(runner, self.preempted, dict(epoch=epoch, iter=iteration), full=True)
        if is_main_process():
            self._record(runner, path)
        return path

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save; then move the record; then remove what is too old."""
        outdated = self._outdated(runner, step)
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._save(runner, filename, meta)
        if is_main_process():
            self._record(runner, self.last_ckpt)
            for name in [*map(self.filename_tmpl.format, outdated), self.preempted]:
                # A template may give two steps one name.
                if name != filename:
                    self._remove(self.file_backend.join_path(self.out_dir, name))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As mmengine, but the previous best goes after the new one has come."""
        with self._kept_best():
            super()._save_best_checkpoint(runner, metrics)

    def _save(self, runner: Runner, filename: str, meta: dict, full: bool = False) -> str:
        runner.call_hook('before_checkpoint')
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer or full,
            save_param_scheduler=(self.save_param_scheduler or full)
            and runner.param_schedulers is not None,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self.saved_iter = meta['iter']
        return self.file_backend.join_path(self.out_dir, filename)

    def _outdated(self, runner: Runner, step: int) -> list[int]:
        """Steps whose checkpoints go once that of ``step`` is there."""
        if self.max_keep_ckpts <= 0:
            return []
        steps = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
        # A deque of max_keep_ckpts drops the oldest by itself. The checkpoint lists it still: a
        # training that resumes from it removes what a kill in between has left.
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(steps)
        runner.message_hub.update_info('keep_ckpt_ids', steps)
        return steps[: -self.max_keep_ckpts]

    def _record(self, runner: Runner, path: str) -> None:
        write_atomically(Path(runner.work_dir) / _RECORD, path.encode())

    @contextmanager
    def _kept_best(self):
        """Let mmengine see no previous best, which it would remove first."""
        if not self.save_best:
            yield
            return
        single = len(self.key_indicators) == 1
        before = {'': self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
        if single:
            self.best_ckpt_path = None
        else:
            self.best_ckpt_path_dict = dict.fromkeys(before)
        yield
        after = {'': self.best_ckpt_path} if single else self.best_ckpt_path_dict
        for key, old in before.items():
            if after[key] is None:
                after[key] = old
            elif old not in (None, after[key]) and is_main_process():
                self._remove(old)
        if single:
            self.best_ckpt_path = after['']

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)


def _check_name(template: str | None) -> None:
    """Refuse one name for all checkpoints, of which the old one to remove is the new one."""
    try:
        if template is None or template.format(1) != template.format(2):
            return
    except (AttributeError, IndexError, KeyError, ValueError):
        pass
    raise UserError(
        f'default_hooks.checkpoint.filename_tmpl={template!r} should hold one {{}}, the place of '
        "the epoch or iteration, as in 'epoch_{}.pth'"
    )
