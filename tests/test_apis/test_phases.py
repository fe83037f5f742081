"""Blocks that train at different times, against loops written out here."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook

from mman.apis import load_config, set_resume, set_work_dir, train_model
from mman.apis.memory_prediction import largest_batch, predict_memory
from mman.apis.models import build_model
from mman.registry import HOOKS
from mman.utils import UserError
from mman.utils.checkpoint import load_from_local
from tests.helpers.interruption import differences

CONFIG = 'tests/helpers/phases_config.py'
LR, MOMENTUM, DECAY = 0.05, 0.9, 0.9
# The head of survival_config.py draws its dropout; this one does not.
PLAIN = {
    'model.head': dict(_delete_=True, type='LinearClsHead', num_classes=10, in_channels=64),
    'param_scheduler': None,
    'train_cfg.max_epochs': 2,
}
SEEN = []


@HOOKS.register_module()
class RecordBatchesHook(Hook):
    """Keep every training batch, as the model is given it."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        SEEN.append((data_batch['inputs'], [int(s.gt_label) for s in data_batch['data_samples']]))


def _cfg(work_dir, phases='sequential', **options):
    cfg = load_config(CONFIG, {**PLAIN, **options})
    cfg.phases = phases
    cfg.launcher = 'none'
    set_work_dir(cfg, str(work_dir), CONFIG)
    cfg.randomness = dict(seed=3)
    return cfg


def _train(cfg):
    """A training from weights that are known; its batches, and what the last phase leaves."""
    torch.manual_seed(0)
    start = build_model(cfg)
    start.init_weights()
    cfg.load_from = f'{cfg.work_dir}/start.pth'
    folder = Path(cfg.work_dir)
    folder.mkdir()
    torch.save(dict(state_dict=start.state_dict()), cfg.load_from)
    cfg.custom_hooks.append(dict(type='RecordBatchesHook'))
    SEEN.clear()
    train_model(cfg)
    last = (folder / 'last_checkpoint').read_text()
    return start, list(SEEN), load_from_local(last)['state_dict']


class _ByHand:
    """Three blocks, two momentum heads over a linear one, and what trains one of them."""

    def __init__(self, model):
        self.model = model.eval()
        self.blocks = [
            [unit.within(model.backbone).module for unit in units] for units in model.block_units
        ]
        self.heads = [*model.aux_heads, model.head]
        self.optimizers = [self._optimizer(k) for k in range(3)]

    def _optimizer(self, k):
        parts = [*self.blocks[k], self.heads[k]]
        trained = [p for part in parts for p in part.parameters() if p.requires_grad]
        return torch.optim.SGD(trained, lr=LR, momentum=MOMENTUM)

    @torch.no_grad()
    def start(self, k):
        """What a head copies before it first trains."""
        if k < 2:
            head = self.heads[k]
            for copied in (head.momentum_unit, head.bias_unit):
                for p, source in zip(
                    copied.parameters(), self.blocks[k + 1][0].parameters(), strict=True
                ):
                    p.copy_(source)
            head.num_updates.zero_()

    def train(self, k, images, labels):
        """One step of block k; those before it rest in eval mode, no other is touched."""
        x = (images.float() - self.model.data_preprocessor.mean) / self.model.data_preprocessor.std
        with torch.no_grad():
            for block in self.blocks[:k]:
                for unit in block:
                    x = unit.eval()(x)
        for unit in self.blocks[k]:
            x = unit.train()(x)
        head = self.heads[k].train()
        if k < 2:
            x = head.bias_unit(x) + head.momentum_unit.train()(x)
            scores = head.host.fc(x.mean((2, 3)))
        else:
            scores = head.fc(self.model.neck((x,))[0])
        loss = F.cross_entropy(scores, torch.tensor(labels))
        loss.backward()
        self.optimizers[k].step()
        self.optimizers[k].zero_grad()

    @torch.no_grad()
    def follow(self, k):
        """Block k has stepped: the average of its first unit's weights moves."""
        if k:
            head = self.heads[k - 1]
            pairs = zip(
                head.momentum_unit.parameters(), self.blocks[k][0].parameters(), strict=True
            )
            for average, source in pairs:
                average.mul_(DECAY).add_(source * (1 - DECAY))
            head.num_updates += 1


def test_one_block_after_the_other_is_three_trainings_by_hand(tmp_path):
    model, seen, found = _train(_cfg(tmp_path / 'run'))
    by_hand = _ByHand(model)
    assert len(seen) == 3 * 2 * 6
    for k in range(3):
        by_hand.start(k)
        for images, labels in seen[12 * k : 12 * k + 12]:
            by_hand.train(k, images, labels)
    assert differences(dict(model.state_dict()), dict(found)) == []
    # Only the block that trains has an optimizer.
    assert list(load_from_local(tmp_path / 'run/phase1/epoch_2.pth')['optimizer']) == ['block1']


@pytest.mark.parametrize('iters', [1, 2])
def test_blocks_by_turns_are_one_loop_by_hand(tmp_path, iters):
    model, seen, found = _train(_cfg(tmp_path / 'run', phases=dict(type='cyclic', iters=iters)))
    by_hand = _ByHand(model)
    for k in range(3):
        by_hand.start(k)
    for t, (images, labels) in enumerate(seen):
        k = t // iters % 3
        by_hand.train(k, images, labels)
        by_hand.follow(k)
    assert len(seen) == 12
    assert differences(dict(model.state_dict()), dict(found)) == []


def test_phases_of_a_list_have_keys_of_their_own(tmp_path, capsys):
    """Some blocks, longer, in larger batches at another rate; then all; killed between."""
    rate = dict(optim_wrapper=dict(optimizer=dict(lr=0.01)))
    phases = [
        dict(blocks=[1, 0], epochs=1, batch_size=40, cfg=rate),
        dict(blocks=None, epochs=1, batch_size=8),
    ]
    runner = train_model(_cfg(tmp_path / 'run', phases=phases))
    printed = capsys.readouterr().out
    assert 'phase 0 of 2: blocks 0 1, epochs 1; validation is of block1' in printed
    first = load_from_local(tmp_path / 'run/phase0/epoch_1.pth')
    assert list(first['optimizer']) == ['block0', 'block1']
    assert first['optimizer']['block1']['param_groups'][0]['lr'] == 0.01
    assert first['meta']['iter'] == 3
    assert runner.iter == 11
    assert runner.optim_wrapper['block2'].optimizer.param_groups[0]['lr'] == LR


def test_a_resume_passes_over_what_is_done(tmp_path):
    cfg = _cfg(tmp_path / 'run', **{'train_cfg.max_epochs': 1})
    train_model(cfg)
    with pytest.raises(UserError, match='holds the phases of an earlier training: give --resume'):
        train_model(_cfg(tmp_path / 'run', **{'train_cfg.max_epochs': 1}))
    kept = {path: path.read_bytes() for path in tmp_path.glob('run/phase?/epoch_1.pth')}
    other = _cfg(tmp_path / 'run', **{'train_cfg.max_epochs': 2})
    set_resume(other, True)
    with pytest.raises(UserError, match="phase 0 in .* is done and was .*'epochs': 1.*'epochs': 2"):
        train_model(other)
    # As if it had been killed when phase 1 had only begun.
    record = tmp_path / 'run/phases.json'
    record.write_text(
        record.read_text()
        .replace('"phase1/epoch_1.pth",', '')
        .replace(',\n    "phase2/epoch_1.pth"', '')
    )
    again = _cfg(tmp_path / 'run', **{'train_cfg.max_epochs': 1})
    set_resume(again, True)
    whole = record.read_text()
    for damaged in (whole[:-9], '{"done": []}'):
        record.write_text(damaged)
        with pytest.raises(UserError, match='is no record of phases'):
            train_model(again.copy())
    record.write_text(whole)
    train_model(again)
    assert {path: path.read_bytes() for path in kept} == kept


def test_cached_features_make_the_same_training(tmp_path, capsys):
    """No augmentation, one view: every phase but the first reads what the blocks before gave."""
    same = {
        'train_dataloader.dataset.pipeline': [dict(type='PackInputs')],
        'train_dataloader.drop_last': True,
        'train_cfg.max_epochs': 1,
    }
    train_model(_cfg(tmp_path / 'images', **same))
    train_model(_cfg(tmp_path / 'cached', **same, feature_cache=dict()))
    assert capsys.readouterr().out.count('feature cache: writing') == 2
    first, second = (
        load_from_local(tmp_path / name / 'phase2/epoch_1.pth')['state_dict']
        for name in ('images', 'cached')
    )
    assert differences(dict(first), dict(second)) == []


WRONG = [
    (dict(phases='sequental'), "phases='sequental' should be one of joint, sequential, cyclic"),
    (dict(phases=[]), r'phases=\[\] should be a list of one phase or more'),
    (dict(phases=[dict(epochs=1)]), r'phases\[0\] lacks blocks'),
    (dict(phases=[0]), r'phases\[0\]=0 should be a dict'),
    (dict(phases=[dict(blocks=[0]), dict(blocks=[3])]), r'phases\[1\].blocks=\[3\] should .* 2$'),
    (dict(phases=[dict(blocks=[0], epoch=1)]), "unknown key 'epoch'.*did you mean 'epochs'"),
    (dict(phases=[dict(blocks=[0], epochs=0)]), r'phases\[0\].epochs=0 should be an integer'),
    (dict(phases=[dict(blocks=[0], iters=5)]), 'iters=5 needs train_cfg.max_iters'),
    (dict(phases=dict(type='cyclic', iters=0)), 'iters=0 should be an integer from 1 on'),
    (dict(phases=dict(type='cyclic', epochs=2)), "phases has the unknown key 'epochs'"),
    (dict(phases=dict(type='sequential', blocks=[0])), "phases has the unknown key 'blocks'"),
    (dict(phases=dict(type='sequential', batch_size='big')), "batch_size='big' should be"),
    (dict(phases=dict(type='sequential', batch_size='auto')), 'needs memory_budget=dict'),
    (
        {'phases': dict(type='sequential', batch_size='auto'), 'memory_budget': dict(gib=1)},
        'needs auto_scale_lr.base_batch_size',
    ),
    ({'model.train_blocks': [0]}, 'both say which blocks train'),
    ({'custom_hooks': [dict(type='EMAHook')]}, 'EMAHook in custom_hooks keeps: leave it out'),
    (
        {'model_wrapper_cfg': dict(type='mman.engine.wrappers.LocalPipelineParallel', stages=2)},
        'LocalPipelineParallel in model_wrapper_cfg trains all',
    ),
    (
        {'phases': 'cyclic', 'optim_wrapper.accumulative_counts': 2},
        'accumulative_counts=2 counts iterations in which a block may rest',
    ),
    (
        dict(phases=[dict(blocks=[0], cfg=dict(optim_wrapper=dict(optimizer=dict(lr=-1))))]),
        'optim_wrapper.optimizer.lr=-1',
    ),
]


@pytest.mark.parametrize(('options', 'message'), WRONG, ids=lambda v: v if type(v) is str else '')
def test_what_is_wrong_is_said_before_training(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train_model(_cfg(tmp_path / 'run', **options))
    assert not list(tmp_path.glob('run/**/*.pth'))


def test_a_phase_without_a_classifier_is_not_validated(tmp_path, capsys):
    options = {
        'model.aux_head': dict(
            _delete_=True,
            type='InfoProAuxHead',
            task_loss='contrast',
            net='1c2f',
            reconstruction_weight=1.0,
            task_weight=1.0,
        ),
        'custom_hooks': [],
        'phases': [dict(blocks=[0], epochs=1)],
        'default_hooks.checkpoint.save_best': 'accuracy/top1',
    }
    train_model(_cfg(tmp_path / 'run', **options))
    printed = capsys.readouterr().out
    assert 'no validation: the aux head of block0 has no classifier, so no best' in printed
    assert [path.name for path in tmp_path.glob('run/phase0/*.pth')] == ['epoch_1.pth']


@pytest.mark.full
def test_the_largest_batch_is_the_largest():
    cfg = _cfg('unused')
    gib = (predict_memory(cfg, 37).peak + 1) / 2**30
    assert largest_batch(cfg, gib) == 37
    with pytest.raises(UserError, match="too small for batch_size='auto': a batch of 2 takes"):
        largest_batch(cfg, 1e-4)


@pytest.mark.full
def test_auto_takes_it_and_scales_the_rate(tmp_path):
    cfg = _cfg(
        tmp_path / 'run',
        phases=[dict(blocks=[2], epochs=1, batch_size='auto')],
        auto_scale_lr=dict(base_batch_size=16),
    )
    one = _cfg('unused', None, **{'model.train_blocks': [2]})
    cfg.memory_budget = dict(gib=(predict_memory(one, 32).peak + 1) / 2**30)
    runner = train_model(cfg)
    assert runner.train_dataloader.batch_size == 32
    (group,) = runner.optim_wrapper['block2'].optimizer.param_groups
    assert group['lr'] == pytest.approx(2 * LR)


@pytest.mark.full
@pytest.mark.parametrize(
    ('what', 'trains'),
    # The block of the largest peak; the record has all of them.
    [(['bp'], False), (['1'], True)],
    ids=['bp', 'blocks'],
)
def test_under_a_limit_of_the_kernel_single_blocks_train_where_bp_cannot(what, trains):
    command = [sys.executable, '-m', 'tests.helpers.capped', '560', *what]
    done = subprocess.run(command, capture_output=True, text=True)
    if trains:
        assert done.returncode == 0, done.stderr
    else:
        assert 'allocate memory' in done.stderr
