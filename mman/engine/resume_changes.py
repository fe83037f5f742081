"""What a config changed since a checkpoint was saved, and what of it a resume does not follow."""

import reprlib
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from mmengine.runner import Runner

from mman.utils.errors import UserError

# Of a scheduler's state, what tells of its progress; its base values are told of as the rate.
_PROGRESS = ('last_step', 'base_values', 'verbose')
# A part of the first rate that trains nothing; schedules compute their 0 in floating point.
_NOTHING = 1e-9
# What a resume restores, and what it is.
_STATES = dict(optimizer=(Mapping,), message_hub=(Mapping,), param_schedulers=(Mapping, list))
_ANEW = 'start from its weights, with load_from and without --resume'


def resume_changes(runner: Runner, checkpoint: Mapping) -> Iterator[str]:
    """Say in one line each what goes on as the checkpoint has it, not as the config says.

    The Runner is about to resume, with its optimizers and schedules built.

    Raises:
        UserError: If a state is none, the optimizer is of another type, or the rate would
            stay 0.
    """
    name = f'checkpoint {runner._load_from!r}'
    _check_states(checkpoint, name)
    saved = dict(_parts(checkpoint.get('optimizer') or {}, 'param_groups'))
    ours = dict(_parts(runner.optim_wrapper.state_dict(), 'param_groups'))
    pairs = [
        pair for block in saved for pair in zip(ours.get(block, ()), saved[block], strict=False)
    ]
    lacking = sorted({key for our, theirs in pairs for key in _numbers(our) if key not in theirs})
    if lacking:
        raise UserError(
            f'{name} is of another optimizer, without {", ".join(lacking)}: set '
            f'optim_wrapper.optimizer back, or {_ANEW}'
        )
    for key in dict.fromkeys(key for our, _ in pairs for key in _numbers(our)):
        values = {(_first(our, key), _first(theirs, key)) for our, theirs in pairs}
        other = [pair for pair in values if pair[0] != pair[1]]
        if other:
            yield (
                f'{name} goes on with its own {key}={other[0][1]!r}, not {other[0][0]!r} of the '
                f'config: for the latter {_ANEW}'
            )
    yield from _schedule_changes(runner, checkpoint, name)
    if 0 < checkpoint['meta']['iter'] < runner.train_loop.max_iters:
        yield from _end_of_schedule(checkpoint, name, [theirs for _, theirs in pairs])


def _check_states(checkpoint: Mapping, name: str) -> None:
    for key, kinds in _STATES.items():
        # A training without optimizers or schedules saves none; logs are always there.
        value = checkpoint.get(key, {} if key != 'message_hub' else None)
        if not isinstance(value, kinds):
            words = ' or a list' if list in kinds else ''
            raise UserError(
                f'{name} cannot be resumed: {key}={reprlib.repr(value)} should be a dict{words}; '
                f'{_ANEW}'
            )


def _schedule_changes(runner: Runner, checkpoint: Mapping, name: str) -> Iterator[str]:
    saved = dict(_schedules(checkpoint.get('param_schedulers') or []))
    ours = {
        place: scheduler.state_dict()
        for place, scheduler in _schedules(runner.param_schedulers or [])
    }
    found = sorted(
        key
        for place in ours.keys() & saved.keys()
        for key in ours[place].keys() | saved[place].keys()
        if not key.startswith('_')
        and key not in _PROGRESS
        and ours[place].get(key) != saved[place].get(key)
    )
    if found or (saved and ours.keys() != saved.keys()):
        what = f' in {", ".join(dict.fromkeys(found))}' if found else ' in number'
        yield (
            f'{name} goes on with its own schedule, from which param_scheduler differs{what}: for '
            f'the latter {_ANEW}'
        )


def _end_of_schedule(checkpoint: Mapping, name: str, groups: list[Mapping]) -> Iterator[str]:
    """Tell of a rate that no schedule changes any more."""
    states = [one for _, one in _schedules(checkpoint.get('param_schedulers') or [])]
    states = [one for one in states if one.get('param_name') == 'lr']
    done = checkpoint['meta']
    if not states or not groups:
        return
    if any(done['epoch' if one['by_epoch'] else 'iter'] < one['end'] for one in states):
        return
    rate = max(float(group['lr']) for group in groups)
    if rate <= _NOTHING * max(float(_first(group, 'lr')) for group in groups):
        raise UserError(
            f'{name} is at the end of its schedule, with a learning rate of 0: more epochs or '
            f'iterations would train nothing; for these {_ANEW}'
        )
    yield f'{name} is at the end of its schedule: training goes on with the learning rate {rate:g}'


def _numbers(group: Mapping) -> list[str]:
    """Keys of numbers that a user sets; torch adds flags from one version to another."""
    return [
        key
        for key, value in group.items()
        if (isinstance(value, Real | tuple) and not isinstance(value, bool))
        and not key.startswith('initial_')
    ]


def _first(group: Mapping, key: str) -> Any:
    """What a number was before any schedule."""
    return group.get(f'initial_{key}', group[key])


def _parts(state: Mapping, key: str) -> Iterator[tuple[str, Any]]:
    """That entry of the state of one optimizer, or of each of several by its name."""
    if key in state:
        yield '', state[key]
        return
    for name, one in state.items():
        if isinstance(one, Mapping) and key in one:
            yield name, one[key]


def _schedules(value: Any) -> Iterator[tuple[tuple[str, int], Any]]:
    """Every schedule by the name of its optimizer and its place."""
    for name, many in value.items() if isinstance(value, Mapping) else [('', value)]:
        for place, one in enumerate(many):
            yield (name, place), one
