"""What stands at the top level of a config."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from mman.utils.errors import UserError

_DICT = (Mapping, 'a dict')
_LIST = ((list, tuple), 'a list')
_DICT_OR_LIST = ((Mapping, list, tuple), 'a dict or a list of dicts')
_STRING = (str, 'a string')
_SWITCH = (bool, 'True or False')
_ANY = (object, '')

# key -> (class of its value, how a message calls it); None is right wherever a key may be left out.
KNOWN = {
    'model': _DICT,
    'data_preprocessor': _DICT,
    'train_dataloader': _DICT,
    'val_dataloader': _DICT,
    'test_dataloader': _DICT,
    'train_cfg': _DICT,
    'val_cfg': _DICT,
    'test_cfg': _DICT,
    'val_evaluator': _DICT_OR_LIST,
    'test_evaluator': _DICT_OR_LIST,
    'optim_wrapper': _DICT,
    'param_scheduler': _DICT_OR_LIST,
    'auto_scale_lr': _DICT,
    'default_hooks': _DICT,
    'custom_hooks': _LIST,
    'visualizer': _DICT,
    'log_processor': _DICT,
    'log_level': ((str, int), 'a name such as INFO'),
    'env_cfg': _DICT,
    'randomness': _DICT,
    'model_wrapper_cfg': _DICT,
    'custom_imports': _DICT,
    'default_scope': _STRING,
    'experiment_name': _STRING,
    'launcher': _STRING,
    'load_from': _STRING,
    'resume': _SWITCH,
    'runner_type': _ANY,
    'work_dir': _STRING,
    'compile': ((bool, Mapping), 'a dict or True'),
    'sync_bn': _STRING,
    'find_unused_parameters': _SWITCH,
    'activation_checkpointing': _ANY,
    'efficient_conv_bn_eval': _LIST,
    'memory_budget': _DICT,
    'pretrained': _DICT,
}
# The Runner takes no None for these.
_NOT_NONE = ('model', 'env_cfg', 'randomness', 'custom_imports', 'resume', 'launcher', 'log_level')


def check_top_level(cfg: Mapping) -> None:
    """Refuse values of the wrong kind, and names that are all but a known one.

    Configs have variables of their own at the top level (``data_root``,
    ``img_norm_cfg``), so an unknown name is right unless it is a known key with
    a letter too many, too few or in the wrong place, as ``optim_warpper``.

    Args:
        cfg (Mapping): The config as a tree of dicts and lists.

    Raises:
        UserError: Names the key, its value and what would be right.
    """
    for key, value in cfg.items():
        if key not in KNOWN:
            meant = near_miss(key, KNOWN)
            if meant is not None:
                raise UserError(
                    f'the config has the unknown key {key!r}: did you mean {meant!r}? If it is a '
                    'variable of your own, give it a name less like it'
                )
            continue
        kind, name = KNOWN[key]
        if value is None and key not in _NOT_NONE:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in _classes(kind)):
            raise UserError(f'{key}={value!r} should be {name}')


def near_miss(key: str, known: Iterable[str]) -> str | None:
    """The known name that ``key`` is a slip of, if any: one letter, or two that changed places."""
    for name in known:
        if sorted(name) == sorted(key) or difflib.SequenceMatcher(None, key, name).ratio() > 0.87:
            return name
    return None


def _classes(kind: Any) -> tuple:
    return (*(kind if isinstance(kind, tuple) else (kind,)), *((bool,) if kind is object else ()))
