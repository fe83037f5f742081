"""The record of what it takes to repeat a training."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mman.engine.hooks import ReproduceHook
from mman.utils.environment import environment, git_state
from tests.test_engine.conftest import small_model


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def record(build_runner, tmp_path):
    randomness = dict(seed=None)
    # A Runner keeps the config that it was built from beside it.
    runner = build_runner(
        small_model(),
        hooks=[ReproduceHook()],
        randomness=randomness,
        cfg=dict(randomness=randomness, train_cfg=dict(max_epochs=1)),
    )
    runner.train()
    (path,) = tmp_path.rglob('reproduce.json')
    return read(path), runner


def test_the_drawn_seed_repeats_the_training(record, build_runner):
    first, runner = record
    assert first['randomness']['seed'] is None and isinstance(first['seed'], int)
    again = build_runner(small_model(), work_dir='again', randomness=dict(seed=first['seed']))
    again.train()
    other = build_runner(small_model(), work_dir='other', randomness=dict(seed=first['seed'] + 1))
    other.train()
    states = [r.model.state_dict() for r in (runner, again, other)]
    same = [all(torch.equal(states[0][k], s[k]) for k in states[0]) for s in states[1:]]
    assert same == [True, False]


def test_what_is_in_it_and_that_it_is_kept(record, tmp_path):
    found, runner = record
    assert found['block_ends'] == runner.model.block_ends
    assert len(found['blocks']) == 1 + runner.model.num_blocks
    assert found['versions']['torch'].split('+')[0] == torch.__version__.split('+')[0]
    assert found['resumed_from'] is None and found['processes'] == 1
    assert 'max_epochs=1' in found['config']
    assert found['command'].startswith(sys.executable)
    (path,) = tmp_path.rglob('reproduce.json')
    for _ in range(2):
        ReproduceHook().before_train(runner)
    assert read(path) == found
    names = {p.name for p in path.parent.glob('reproduce*')}
    assert names == {'reproduce.json', 'reproduce-2.json', 'reproduce-3.json'}


def test_a_classifier_without_blocks_has_a_record_too(tmp_path):
    plain = SimpleNamespace(
        model=torch.nn.Linear(1, 1),
        seed=5,
        cfg=Config(),
        iter=0,
        log_dir=str(tmp_path),
        _resume=True,
        _load_from='epoch_1.pth',
    )
    ReproduceHook().before_train(plain)
    found = read(tmp_path / 'reproduce.json')
    assert found['blocks'] is None and found['seed'] == 5
    assert found['resumed_from'] == 'epoch_1.pth'


def test_git_state_of_a_repository_and_without_one(tmp_path):
    assert git_state(tmp_path) is None
    git = ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b']
    for args in (['init', '-q'], ['commit', '-q', '--allow-empty', '-m', 'first']):
        subprocess.run([*git, *args], check=True)
    head = subprocess.run([*git, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True)
    assert git_state(tmp_path) == dict(commit=head.stdout.strip(), changed=[])
    (tmp_path / 'new.py').touch()
    assert git_state(tmp_path)['changed'] == ['?? new.py']
    (tmp_path / 'installed').mkdir()
    assert git_state(tmp_path / 'installed') is None


def test_variables_that_matter_and_no_others(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('SOME_PASSWORD', 'secret')
    found = environment()
    assert found['variables']['OMP_NUM_THREADS'] == '1'
    assert 'secret' not in json.dumps(found)
