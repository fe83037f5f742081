"""Loading a config file and applying what the command line changes in it."""

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mman.utils.build_errors import reason
from mman.utils.config_names import config_path
from mman.utils.errors import UserError
from mman.utils.resume_point import find_resume_point
from mman.validation import check_top_level, class_name, unread_keys
from mman.validation.components import takes
from mman.validation.top_level import KNOWN
from mman.validation.values import check_call

from .distributed import RANKS
from .image_folder import apply_image_folder
from .phases import in_phases

_AMP_KINDS = {'OptimWrapper': 'AmpOptimWrapper', 'BlockOptimWrapper': 'BlockAmpOptimWrapper'}


def warn(message: str) -> None:
    """Print one line, on the first process only.

    The log does not exist yet when a config is read, nor does the process
    group, so the rank is the launcher's.
    """
    if not any(int(os.environ.get(name, 0)) for name in RANKS.values()):
        print(f'WARNING: {message}', file=sys.stderr, flush=True)


def load_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, or the config of a name, and merge ``--cfg-options`` into it.

    An option whose key is new is merged, because configs leave out arguments
    that have defaults, but named in a warning, because it may be misspelt.

    Raises:
        UserError: If the file cannot be read, an option does not fit it, or a key at the
            top level is misspelt or of the wrong kind.
    """
    path = config_path(path)
    # custom_imports name modules as seen from where the command is run.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    _check_bases(path)
    cfg = _read(path)
    if 'image_folder.root' in (options or {}) and 'image_folder' not in cfg:
        raise UserError(
            f'--data is for configs with image_folder, such as man/resnet18_k4_folder; {path!r} '
            'has none'
        )
    for message in new_keys(cfg.to_dict(), options or {}):
        warn(f'--cfg-options {message}')
    try:
        cfg.merge_from_dict(dict(options or {}))
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        text = error.args[0] if error.args else error
        raise UserError(f'--cfg-options do not fit config {path!r}: {text}') from error
    check_top_level(cfg.to_dict())
    if any(key.split('.')[0] == 'custom_imports' for key in options or ()):
        _import_custom(cfg.custom_imports, path)
    for message in unread_keys(cfg.to_dict()):
        warn(message)
    apply_image_folder(cfg)
    return cfg


def _read(path: str) -> Config:
    try:
        return Config.fromfile(path)
    except FileNotFoundError as error:
        raise UserError(f'config {path!r} refers to a missing file: {error}') from error
    except ImportError as error:
        raise _failed_imports(error, path) from error
    except (Exception, SystemExit) as error:
        # A config in Python may raise anything, and mmengine tells its own mistakes apart by type.
        raise UserError(
            f'config {path!r} cannot be read, custom_imports and _base_ included: {reason(error)}'
        ) from error


def _check_bases(path: str, above: tuple[str, ...] = ()) -> None:
    """Refuse a config that inherits itself; what else is wrong shows when it is read."""
    path = os.path.realpath(path)
    if path in above:
        raise UserError(f'config {path!r} is its own _base_: {" <- ".join([*above, path])}')
    try:
        bases = [Config._get_cfg_path(base, path)[0] for base in Config._get_base_files(path)]
    # What is wrong with a base is told when the config is read.
    except Exception:
        return
    for base in bases:
        _check_bases(base, (*above, path))


def _import_custom(custom_imports: Mapping, path: str) -> None:
    """Import what ``--cfg-options`` added after the config was read."""
    check_call(custom_imports, 'custom_imports', import_modules_from_strings)
    try:
        import_modules_from_strings(**custom_imports)
    except (ImportError, TypeError) as error:
        raise _failed_imports(error, path) from error


def _failed_imports(error: BaseException, path: str) -> UserError:
    # mmengine's own message lists sys.path, in many lines, and not what was missing.
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return UserError(
        f'custom_imports of config {path!r} failed: {" ".join(str(error).split())}; modules '
        'are looked up from the current folder and PYTHONPATH'
    )


def new_keys(tree: Mapping, options: Mapping[str, Any]) -> Iterator[str]:
    """Say of each dotted key of ``options`` that ``tree`` lacks what it may have meant.

    Nothing is said of known keys at the top level, nor of those that the class there takes.
    """
    for full_key in options:
        node: Any = tree
        for key in full_key.split('.'):
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            elif not isinstance(node, Mapping) or key == '_delete_':
                break
            elif key in node:
                node = node[key]
            elif node is tree and key in KNOWN or takes(node, key, tree.get('default_scope')):
                break
            else:
                yield f'{full_key}: the config has no {key!r} there yet; {_hint(key, node)}'
                break


def _hint(key: str, node: Mapping) -> str:
    names = [str(name) for name in node]
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f'did you mean {close[0]!r}?' if close else f'it has {", ".join(names) or "no keys"}'


def set_work_dir(cfg: Config, work_dir: str | None, config_path: str) -> None:
    """Choose the work dir: the command line's, the config's, or one named as the config."""
    default = str(Path('work_dirs') / Path(config_path).stem)
    cfg.work_dir = work_dir or cfg.get('work_dir') or default
    try:
        if Path(cfg.work_dir).is_file():
            raise UserError(f'work_dir {cfg.work_dir!r} is a file; it should be a folder')
    except OSError as error:
        raise UserError(f'work_dir {cfg.work_dir!r} cannot be used: {error.strerror}') from error


def set_resume(cfg: Config, resume: str | bool | None) -> None:
    """Resume from ``resume``, or from the latest checkpoint of the work dir.

    Args:
        cfg (Config): Has ``work_dir``.
        resume (str | bool | None): A checkpoint, True for the latest one that
            loads, or None to leave the config as it is.

    Raises:
        UserError: If the work dir has checkpoints, but none that loads.
    """
    if cfg.get('phases') is not None and in_phases(cfg):
        if isinstance(resume, str):
            raise UserError(
                f'--resume {resume!r} names one checkpoint, but phases={cfg.phases!r} has one for '
                'each phase: give --resume alone, which goes on with the work dir'
            )
        # What there is to resume is found phase by phase.
        cfg.resume = bool(resume or cfg.get('resume'))
    elif isinstance(resume, str):
        cfg.resume, cfg.load_from = True, resume
    elif resume or (cfg.get('resume') and not cfg.get('load_from')):
        latest, skipped = find_resume_point(cfg.work_dir)
        for reason in skipped:
            warn(f'--resume passes over what cannot be resumed: {reason}')
        if latest is not None:
            cfg.resume, cfg.load_from = True, str(latest)
            if skipped:
                warn(f'--resume goes on from {str(latest)!r}')
        else:
            # A requeued job gives --resume from its first start on.
            warn(f'--resume: no checkpoint in work_dir {cfg.work_dir!r} yet; training starts anew')
    elif not cfg.get('resume') and any(Path(cfg.work_dir).glob('*.pth')):
        warn(
            f'work_dir {cfg.work_dir!r} holds checkpoints of an earlier run, and this run will '
            'replace those of the same name; give --resume or another --work-dir to keep them'
        )


def set_seed(cfg: Config, seed: int | None) -> None:
    """Replace the seed and keep the other settings of randomness."""
    if seed is not None:
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': seed}


def set_auto_scale_lr(cfg: Config, enable: bool) -> None:
    """Let the Runner scale the learning rates by the total batch of all processes."""
    if not enable:
        return
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise UserError(
            '--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: the total batch '
            'that its learning rates are for'
        )
    cfg.auto_scale_lr.enable = True


def set_amp(cfg: Config, amp: bool) -> None:
    """Turn the optimizer wrapper into its mixed-precision kind.

    Its dtype and loss scale are the config's, where it has them.

    Raises:
        UserError: If there is no optimizer wrapper, or one of another kind.
    """
    if not amp:
        return
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        raise UserError('--amp changes optim_wrapper, which the config does not have')
    by_block = class_name(wrapper.get('constructor', '')) == 'BlockOptimWrapperConstructor'
    kind = class_name(wrapper.get('type', 'BlockOptimWrapper' if by_block else 'OptimWrapper'))
    if kind not in _AMP_KINDS and kind not in _AMP_KINDS.values():
        raise UserError(
            f'--amp cannot change optim_wrapper.type={kind!r}; it should be one of '
            f'{", ".join(_AMP_KINDS)}'
        )
    wrapper.type = _AMP_KINDS.get(kind, kind)
    if wrapper.type == 'AmpOptimWrapper':
        wrapper.setdefault('loss_scale', 'dynamic')


def set_loader_defaults(cfg: Config) -> None:
    """Give dataloaders the defaults that mmpretrain's configs count on.

    mmengine's own collate function returns lists of images; mmpretrain's
    tools batch them, so its dataset configs say nothing of it. A config that
    inherits ``mman::...`` says there whose name its function has, and the
    Runner would hand that to the function.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is not None:
            loader.setdefault('collate_fn', {'type': 'default_collate'})
            for function in ('collate_fn', 'worker_init_fn'):
                if isinstance(loader.get(function), dict):
                    loader[function].pop('_scope_', None)
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
