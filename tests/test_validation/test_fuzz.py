"""Wrong configs: one line that names the key, before data is read, or training.

``python -m tests.helpers.config_fuzz --all`` tries some thousand changes more.
"""

import json
from collections import Counter

import pytest

from mman.utils import UserError
from tests.helpers import fuzz_bases
from tests.helpers.config_fuzz import (
    Fuzzer,
    Mutation,
    all_mutations,
    judge,
    misspelt,
    run_all,
    sample,
    untouched,
)
from tests.helpers.run_tool import one_error, run_tool
from tests.helpers.wrong_configs import WRONG, spoilt


def test_wrong_configs_end_in_one_line_before_data_is_read(tmp_path):
    fuzzer, wrong = Fuzzer(tmp_path), []
    for base, changes, message in WRONG:
        path = tmp_path / 'wrong.json'
        path.write_text(json.dumps(spoilt(base, changes)))
        error, loads, _ = fuzzer.outcome_of(path)
        text = str(error)
        if not isinstance(error, UserError) or loads or '\n' in text or message not in text:
            wrong.append(f'{base} with {changes}: {type(error).__name__}, {loads} reads: {text}')
    assert not wrong, '\n'.join(wrong)
    assert not list(tmp_path.rglob('*.pth.tmp')) and len(WRONG) >= 40


@pytest.mark.full
def test_spoilt_configs_end_in_one_line_or_train():
    # The loader of the validation has the keys of the test's.
    chosen = [change for change in sample() if not change.path[0].startswith('val_')][::2]
    outcomes = list(run_all([*untouched(), *chosen]))
    wrong = [f'{o.verdict}: {m}\n{o.message}' for m, o in outcomes if not o.right]
    assert not wrong, '\n'.join(wrong)
    verdicts = Counter(outcome.verdict for _, outcome in outcomes)
    assert verdicts['refused'] >= 90
    # Some changes do no harm; and a checker that refuses everything would refuse these.
    assert verdicts['trained'] >= len(fuzz_bases.NAMES)


@pytest.mark.full
def test_the_sample_has_every_key_and_every_kind_of_change():
    chosen, everything = sample(), all_mutations()
    assert len(chosen) >= 300
    assert len(set(everything)) == len(everything) > 3000

    def keys(mutations):
        return {tuple(k for k in m.path if isinstance(k, str)) for m in mutations}

    assert keys(chosen) == keys(everything)
    assert {m.kind for m in chosen} == {m.kind for m in everything}
    for key in ('lr', 'type', 'model', 'train_dataloader', 'xx', 'memory_budget'):
        assert misspelt(key) != key
        assert abs(len(misspelt(key)) - len(key)) <= 1


def verdict(kind='value', error=None, loads=0, losses=(), path=('model', 'aux_head', 'mix')):
    return judge(Mutation('man', path, kind), error, loads, list(losses)).verdict


def test_what_is_wrong_is_called_wrong():
    nan = float('nan')
    assert verdict(error=UserError("aux_head.mix='x' should be 'sum'")) == 'refused'
    assert verdict(error=UserError("mixture='x' is not known")) == 'key not named'
    assert verdict(error=UserError('mix\nis wrong')) == 'many lines'
    assert verdict(error=UserError('mix is wrong'), loads=1) == 'late'
    assert verdict(error=KeyError('mix')) == 'traceback'
    assert verdict(losses=[1.0]) == 'trained'
    assert verdict(losses=[nan]) == verdict(losses=[]) == 'no training'
    assert verdict(kind='misspelt', losses=[1.0]) == 'ignored'
    assert verdict(kind='surplus', losses=[1.0]) == 'ignored'
    assert verdict(kind='surplus', losses=[1.0], path=('surplus_key',)) == 'trained'


def test_the_tool_prints_one_line_and_ends_with_2(tmp_path):
    mutation = Mutation('bp', ('train_dataloader', 'dataset', 'type'), 'unregistered')
    path = tmp_path / 'spoilt.json'
    path.write_text(json.dumps(mutation.apply()))
    result = run_tool('train.py', path, '--work-dir', tmp_path / 'work')
    assert "did you mean 'Digits'?" in one_error(result)
    assert not (tmp_path / 'work').exists()
