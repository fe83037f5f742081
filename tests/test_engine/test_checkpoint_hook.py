"""When checkpoints come and go, and what the keys of these hooks may be."""

import re
import signal
from functools import partial

import pytest
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook

from mman.engine.fault_tolerance import set_fault_tolerance
from mman.engine.hooks import CheckpointHook, PreemptionHook
from mman.utils import UserError
from mman.utils.checkpoint import load_from_local
from tests.test_engine.conftest import small_model


class Scores(BaseMetric):
    """Given scores, one a validation."""

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=next(self.scores))


class Watch(Hook):
    """Which files there are whenever a checkpoint is about to be written."""

    priority = 'LOWEST'

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def before_save_checkpoint(self, runner, checkpoint):
        self.seen.append({path.name for path in self.folder.glob('*.pth')})


def run(build_runner, tmp_path, epochs=3, scores=None, **checkpoint):
    watch = Watch(tmp_path / 'run')
    loader = dict(
        batch_size=8,
        num_workers=0,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='Digits', indices=8, pipeline=[dict(type='PackInputs')]),
    )
    validation = dict(
        val_dataloader=loader,
        val_cfg=dict(),
        val_evaluator=Evaluator([Scores(scores)]) if scores else None,
    )
    runner = build_runner(
        small_model(),
        epochs=epochs,
        images=8,
        hooks=[watch],
        default_hooks=dict(checkpoint=dict(type='mman.CheckpointHook', **checkpoint)),
        **(validation if scores else {}),
    )
    runner.train()
    return watch.seen, {path.name for path in (tmp_path / 'run').glob('*.pth')}


def test_an_old_checkpoint_goes_after_the_new_one_has_come(build_runner, tmp_path):
    seen, left = run(build_runner, tmp_path, interval=1, max_keep_ckpts=1)
    assert seen == [set(), {'epoch_1.pth'}, {'epoch_2.pth'}]
    assert left == {'epoch_3.pth'}
    assert (tmp_path / 'run' / 'last_checkpoint').read_text().endswith('/epoch_3.pth')


def test_all_are_kept_by_default(build_runner, tmp_path):
    assert run(build_runner, tmp_path, interval=2)[1] == {'epoch_2.pth', 'epoch_3.pth'}


def test_the_best_goes_after_a_better_one_has_come(build_runner, tmp_path):
    seen, left = run(
        build_runner,
        tmp_path,
        scores=[1.0, 3.0, 2.0],
        interval=1,
        save_best='score',
        rule='greater',
    )
    best = [{name for name in names if 'best' in name} for names in seen]
    # Per epoch its own file, then the best, then its own again; the third brings no best.
    assert best == [
        set(),
        set(),
        {'best_score_epoch_1.pth'},
        {'best_score_epoch_1.pth'},
        {'best_score_epoch_1.pth'},
        {'best_score_epoch_1.pth', 'best_score_epoch_2.pth'},
        {'best_score_epoch_2.pth'},
    ]
    assert {name for name in left if 'best' in name} == {'best_score_epoch_2.pth'}
    # Saved once more within the validation, whose result it knows.
    assert load_from_local(tmp_path / 'run' / 'epoch_2.pth')['message_hub']['runtime_info'][
        'best_ckpt'
    ].endswith('best_score_epoch_2.pth')


@pytest.mark.parametrize(
    ('make', 'named'),
    [
        (lambda: CheckpointHook(interval='1'), "checkpoint.interval='1' should be an integer"),
        (lambda: CheckpointHook(max_keep_ckpts=2.0), 'max_keep_ckpts=2.0 should be an integer'),
        *(
            (partial(CheckpointHook, filename_tmpl=name), f'filename_tmpl={name!r} should hold one')
            for name in ('last.pth', '{}_{}.pth', '{epoch}.pth')
        ),
        (lambda: PreemptionHook(interval=0), 'preemption.interval=0 should be an integer from 1'),
        (lambda: PreemptionHook(interval=True), 'preemption.interval=True should be'),
    ],
)
def test_bad_keys_are_named(make, named):
    with pytest.raises(UserError, match=re.escape(named)):
        make()


def test_signals_are_left_alone_where_nothing_saves(build_runner, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    found = []
    watch = Hook()
    watch.before_train_iter = lambda *args, **kwargs: found.append(signal.getsignal(signal.SIGTERM))
    build_runner(
        small_model(), default_hooks=dict(checkpoint=None), hooks=[PreemptionHook(), watch]
    ).train()
    assert found == [before] * 3
    (log,) = tmp_path.rglob('*.log')
    assert 'nothing is saved' in log.read_text()


def test_any_config_survives():
    cfg = Config(dict(train_cfg=dict(by_epoch=False, max_iters=5)))
    set_fault_tolerance(cfg)
    assert cfg.train_cfg == dict(type='mman.ResumableIterTrainLoop', max_iters=5)
    assert cfg.default_hooks.checkpoint.type == 'mman.CheckpointHook'
    assert cfg.default_hooks.preemption.type == 'mman.PreemptionHook'
    again = cfg.to_dict()
    set_fault_tolerance(cfg)
    assert cfg.to_dict() == again


def test_what_a_config_chooses_is_left():
    own = dict(
        train_cfg=dict(type='OwnLoop'),
        default_hooks=dict(checkpoint=dict(type='OwnHook'), preemption=dict(type='OwnSignals')),
    )
    cfg = Config(own)
    set_fault_tolerance(cfg)
    assert cfg.train_cfg == own['train_cfg']
    assert {key: cfg.default_hooks[key] for key in own['default_hooks']} == own['default_hooks']


def test_none_leaves_a_hook_out():
    names = ('resume_state', 'preemption', 'finite_guard', 'reproduce')
    cfg = Config(dict(default_hooks=dict.fromkeys(names)))
    set_fault_tolerance(cfg)
    assert set(cfg.default_hooks) == {'checkpoint'}
