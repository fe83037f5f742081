import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from mman.engine.hooks import CheckpointGuardHook
from mman.utils.checkpoint import load_from_local
from tests.helpers.settings import build_model

from .conftest import small_model

ENDS = ['1.1', '2.0', '2.2', '3.2']


def checkpoint_of(model):
    return dict(meta=dict(), state_dict=copy.deepcopy(model.state_dict()))


def check(model, checkpoint, **arguments):
    runner = SimpleNamespace(model=model, _load_from='saved.pth')
    CheckpointGuardHook(**arguments).after_load_checkpoint(runner, checkpoint)


def test_the_split_is_saved(build_runner, tmp_path):
    runner = build_runner(
        small_model('manpp-greedy', ends=ENDS),
        images=8,
        hooks=[dict(type='CheckpointGuardHook'), dict(type='MomentumUpdateHook')],
    )
    runner.train()
    checkpoint = load_from_local(tmp_path / 'run' / 'epoch_1.pth')
    assert checkpoint['meta']['block_ends'] == ENDS
    model = build_model('manpp-greedy', size=8, ends=ENDS)
    check(model, checkpoint)


def test_a_plain_model_saves_none():
    checkpoint = dict(meta=dict())
    CheckpointGuardHook().before_save_checkpoint(
        SimpleNamespace(model=torch.nn.Linear(1, 1)), checkpoint
    )
    assert checkpoint == dict(meta=dict())


@pytest.mark.parametrize('module', ['', 'module.'])
def test_what_fits_is_let_through(module):
    model = build_model('man', ends=ENDS)
    checkpoint = checkpoint_of(model)
    checkpoint['meta']['block_ends'] = list(ENDS)
    checkpoint['state_dict'] = {f'{module}{k}': v for k, v in checkpoint['state_dict'].items()}
    check(model, checkpoint)
    check(model, checkpoint['state_dict'])


@pytest.mark.parametrize(
    ('saved', 'message'),
    [
        (['2.0', '3.2'], 'has 2 local blocks ending at 2.0, 3.2, the config 4 ending at 1.1, 2.0'),
        (['1.0', '2.0', '2.2', '3.2'], 'has 4 local blocks ending at 1.0, 2.0'),
        (['stem', '1.0', '1.1', '1.2', '2.0', '3.2'], 'ending at stem, 1.0, 1.1, 1.2 and 2 more'),
    ],
)
def test_another_split_is_refused(saved, message):
    model = build_model('greedy', ends=ENDS)
    checkpoint = checkpoint_of(model)
    checkpoint['meta']['block_ends'] = saved
    with pytest.raises(ValueError, match=message):
        check(model, checkpoint)
    # An allowed lack is no allowed split.
    with pytest.raises(ValueError, match=message):
        check(model, checkpoint, allow_missing=['aux_heads.'])


def plain(checkpoint):
    state = checkpoint['state_dict']
    for key in [key for key in state if key.startswith('aux_heads.')]:
        del state[key]


def test_missing_aux_heads_are_refused_unless_allowed():
    model = build_model('greedy', ends=ENDS)
    checkpoint = checkpoint_of(model)
    plain(checkpoint)
    # Three heads of a weight and a bias.
    with pytest.raises(ValueError, match=r'lacks aux_heads\.0\.fc\.weight, .* and 2 more'):
        check(model, checkpoint)
    check(model, checkpoint, allow_missing=('aux_heads.',))
    del checkpoint['state_dict']['head.fc.bias']
    with pytest.raises(ValueError, match=r'lacks head\.fc\.bias\.'):
        check(model, checkpoint, allow_missing=('aux_heads.',))
    check(model, checkpoint, allow_missing=('aux_heads.', 'head.fc.'))


def unknown(checkpoint):
    checkpoint['state_dict']['backbone.layer4.weight'] = torch.zeros(1)


def misshapen(checkpoint):
    checkpoint['state_dict']['head.fc.weight'] = torch.zeros(3, 32)


def malformed(key):
    return lambda checkpoint: checkpoint.update({key: 5})


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (malformed('state_dict'), 'no checkpoint of training: state_dict should be a dict'),
        (malformed('optimizer'), 'no checkpoint of training: optimizer should be a dict'),
        (malformed('meta'), 'no checkpoint of training: meta should be a dict'),
        (lambda saved: saved['state_dict'].update({3: 0}), 'state_dict should be a dict by name'),
        (lambda saved: saved['meta'].update(block_ends=5), 'meta.block_ends=5, which is no list'),
        (unknown, r'has unknown backbone\.layer4\.weight\.'),
        (misshapen, r'has misshapen head\.fc\.weight \(3, 32\) instead of \(10, 32\)\.'),
        (plain, r'lacks aux_heads\.0\.fc\.weight'),
    ],
)
def test_nothing_is_loaded_when_refused(build_runner, tmp_path, damage, message):
    cfg = small_model('greedy', ends=ENDS)
    checkpoint = checkpoint_of(build_model('greedy', size=8, ends=ENDS))
    for value in checkpoint['state_dict'].values():
        value.add_(1)
    torch.save(checkpoint, tmp_path / 'good.pth')
    damage(checkpoint)
    torch.save(checkpoint, tmp_path / 'bad.pth')

    runner = build_runner(cfg, hooks=[dict(type='CheckpointGuardHook')])
    before = copy.deepcopy(runner.model.state_dict())
    with pytest.raises(ValueError, match=message):
        runner.load_checkpoint(str(tmp_path / 'bad.pth'))
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    # The same Runner loads what fits.
    runner.load_checkpoint(str(tmp_path / 'good.pth'))
    assert not torch.equal(runner.model.head.fc.weight, before['head.fc.weight'])


def test_training_stops_before_it_begins_from_another_split(build_runner, tmp_path):
    guard = dict(type='CheckpointGuardHook')
    build_runner(small_model('greedy', ends=ENDS), images=8, hooks=[guard]).train()

    class Started(Hook):
        started = False

        def before_train(self, runner):
            self.started = True

    for resume in (True, False):
        hook = Started()
        runner = build_runner(
            small_model('greedy', ends=['2.0', '3.2']),
            images=8,
            hooks=[guard, hook],
            work_dir='other',
            load_from=str(tmp_path / 'run' / 'epoch_1.pth'),
            resume=resume,
        )
        with pytest.raises(ValueError, match='4 local blocks .* the config 2'):
            runner.train()
        assert not hook.started


def test_fine_tuning_from_a_plain_classifier(build_runner, tmp_path):
    build_runner(
        small_model('greedy', num_blocks=1), images=8, hooks=[dict(type='CheckpointGuardHook')]
    ).train()
    saved = load_from_local(tmp_path / 'run' / 'epoch_1.pth')
    weights = dict(meta=dict(), state_dict=saved['state_dict'])
    assert not any(key.startswith('aux_heads.') for key in weights['state_dict'])
    torch.save(weights, tmp_path / 'plain.pth')
    runner = build_runner(
        small_model('greedy', ends=ENDS),
        hooks=[dict(type='CheckpointGuardHook', allow_missing=['aux_heads.'])],
        work_dir='tuned',
    )
    runner.load_checkpoint(str(tmp_path / 'plain.pth'))
    assert torch.equal(runner.model.head.fc.weight, saved['state_dict']['head.fc.weight'])
