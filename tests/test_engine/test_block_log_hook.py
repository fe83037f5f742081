import json

import pytest
import torch
from mmengine.hooks import Hook

from mman.engine.hooks import BlockLogHook

from .conftest import small_model


class Recorder(Hook):
    """Keeps what every block's loss and gradient are, from the model and the optimizers."""

    def __init__(self):
        self.losses = []
        self.norms = []

    def before_train(self, runner):
        parse = runner.model.parse_losses

        def record(losses):
            self.losses.append(float(sum(losses.values()).detach()))
            return parse(losses)

        runner.model.parse_losses = record
        for k, block in enumerate(runner.model.local_blocks):
            runner.optim_wrapper[f'block{k}'].optimizer.register_step_pre_hook(
                lambda *_, block=block: self.norms.append(_norm(block))
            )


def _norm(block):
    return (
        sum(float(p.grad.double().square().sum()) for p in block.parameters() if p.grad is not None)
        ** 0.5
    )


def many_blocks():
    """ResNet-110 of two channels cut everywhere: 55 blocks."""
    cfg = small_model(num_blocks=55, stem='own')
    cfg['backbone'] = dict(type='CIFARResNet', depth=110, widths=(2, 2, 2, 2))
    cfg['head']['in_channels'] = 2
    return cfg


def two_blocks():
    return small_model(num_blocks=2, strategy='uniform')


def records_in(tmp_path):
    (path,) = tmp_path.glob('run/*/block_losses.jsonl')
    return [json.loads(line) for line in path.read_text().splitlines()]


def console_lines(tmp_path):
    (path,) = tmp_path.glob('run/*/*.log')
    return [line for line in path.read_text().splitlines() if 'Epoch(train)' in line]


def test_records_are_the_means_of_an_interval(build_runner, tmp_path):
    recorder = Recorder()
    # Two epochs of four iterations: an interval ends at the third and with the epoch.
    runner = build_runner(
        many_blocks(),
        epochs=2,
        images=28,
        hooks=[recorder, BlockLogHook(interval=3)],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=None),
        log_processor=dict(window_size=1),
    )
    runner.train()
    losses = torch.tensor(recorder.losses, dtype=torch.float64).reshape(8, 55)
    records = records_in(tmp_path)
    assert [(r['epoch'], r['iter']) for r in records] == [(1, 3), (1, 4), (2, 7), (2, 8)]
    parts = (losses[:3], losses[3:4], losses[4:7], losses[7:])
    for record, part in zip(records, parts, strict=True):
        assert set(record) == {'epoch', 'iter', 'losses'}
        assert record['losses'] == pytest.approx(part.mean(0).tolist(), rel=1e-5)
    lines = console_lines(tmp_path)
    assert len(lines) == 8
    assert max(map(len, lines)) <= 240
    # The console has the last block's loss, and mean and worst of the local ones.
    shown = {
        key: float(lines[-1].split(f' {key}: ')[1].split()[0])
        for key in ('loss', 'local_loss_mean', 'local_loss_max')
    }
    local = losses[-1, :-1]
    expected = dict(
        loss=losses[-1, -1].item(),
        local_loss_mean=local.mean().item(),
        local_loss_max=local.max().item(),
    )
    # Four decimals are printed.
    assert shown == pytest.approx(expected, abs=1e-4)


def test_every_epoch_has_a_record(build_runner, tmp_path):
    build_runner(two_blocks(), epochs=3, images=16, hooks=[BlockLogHook(interval=50)]).train()
    assert [(r['epoch'], r['iter']) for r in records_in(tmp_path)] == [(1, 2), (2, 4), (3, 6)]


class TermRecorder(Hook):
    """Keeps what the first block's head returns."""

    def __init__(self):
        self.losses = []

    def before_train(self, runner):
        plain = runner.model.parse_losses

        def record(losses):
            if len(losses) > 1:
                self.losses.append({key: float(value) for key, value in losses.items()})
            return plain(losses)

        runner.model.parse_losses = record


def test_losses_that_a_sum_is_made_of(build_runner, tmp_path):
    recorder, model = TermRecorder(), two_blocks()
    model['aux_head'] = dict(type='InfoProAuxHead', reconstruction_weight=2.0, task_weight=1.0)
    build_runner(model, images=24, hooks=[recorder, BlockLogHook(interval=2)]).train()
    assert len(recorder.losses) == 3
    records = records_in(tmp_path)
    for record, parts in zip(records, (recorder.losses[:2], recorder.losses[2:]), strict=True):
        assert set(record['terms']) == {'loss_task', 'loss_reconstruction'}
        for name, (first, last) in record['terms'].items():
            assert first == pytest.approx(sum(p[name] for p in parts) / len(parts), rel=1e-5)
            assert last is None
        both = sum(values[0] for values in record['terms'].values())
        assert record['losses'][0] == pytest.approx(both, rel=1e-5)


def test_the_history_does_not_grow_with_the_number_of_blocks(build_runner):
    series = []
    for model in (two_blocks(), many_blocks()):
        runner = build_runner(
            model,
            images=8,
            hooks=[BlockLogHook(interval=1)],
            work_dir=f'run{len(series)}',
            param_scheduler=dict(type='RampCosineLR'),
            optim_wrapper=dict(clip_grad=dict(max_norm=5.0)),
        )
        runner.train()
        hub = runner.message_hub.log_scalars
        series.append({name for name in hub if name.startswith('train/')})
    assert series[0] == series[1]
    assert series[0] >= {'train/loss', 'train/lr', 'train/local_loss_mean'}


def test_gradient_norms_are_in_the_record(build_runner, tmp_path):
    recorder = Recorder()
    # Nothing is as large as this, so clipping leaves the gradients to be measured.
    runner = build_runner(
        two_blocks(),
        images=16,
        hooks=[recorder, BlockLogHook(interval=1)],
        optim_wrapper=dict(clip_grad=dict(max_norm=1e6)),
    )
    runner.train()
    records = records_in(tmp_path)
    assert len(records) == 2
    for record, norms in zip(records, (recorder.norms[:2], recorder.norms[2:]), strict=True):
        assert record['grad_norms'] == pytest.approx(norms, rel=1e-4)


@pytest.mark.parametrize('visualize', [True, False])
def test_the_visualizer_gets_the_same_numbers(build_runner, tmp_path, visualize):
    runner = build_runner(
        two_blocks(), images=32, hooks=[BlockLogHook(interval=2, visualize=visualize)]
    )
    runner.train()
    (path,) = tmp_path.glob('run/*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = [line for line in lines if 'block_loss/0' in line]
    assert not any('block_loss/2' in line for line in lines)
    records = records_in(tmp_path)
    assert [record['iter'] for record in records] == [2, 4]
    assert len(found) == (2 if visualize else 0)
    for line, record in zip(found, records, strict=False):
        assert line['step'] == record['iter']
        assert [line['block_loss/0'], line['block_loss/1']] == record['losses']


def test_tensorboard_is_a_choice_of_the_config(build_runner, tmp_path):
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    runner = build_runner(
        two_blocks(),
        images=16,
        hooks=[BlockLogHook(interval=1)],
        visualizer=dict(
            type='UniversalVisualizer',
            name=tmp_path.name,
            vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
        ),
    )
    runner.train()
    runner.visualizer.close()
    (path,) = tmp_path.glob('run/*/vis_data/events.out.tfevents.*')
    accumulator = events.EventAccumulator(str(path))
    accumulator.Reload()
    for k in range(2):
        scalars = accumulator.Scalars(f'block_loss/{k}')
        assert [scalar.step for scalar in scalars] == [1, 2]
        assert [scalar.value for scalar in scalars] == pytest.approx(
            [record['losses'][k] for record in records_in(tmp_path)], rel=1e-6
        )


def test_the_block_table_is_printed_once(build_runner, tmp_path):
    build_runner(two_blocks(), images=8, hooks=[BlockLogHook()]).train()
    (path,) = tmp_path.glob('run/*/*.log')
    text = path.read_text()
    assert text.count('output shape') == 1
    # ResNet-20 at widths 8, 16, 32: the stem and five of nine units come first.
    assert 'stem - 2.1 (6)' in text and '2.2 - 3.2 (4)' in text


@pytest.mark.parametrize('interval', [0, -1, 1.5, '10'])
def test_a_bad_interval(interval):
    with pytest.raises(ValueError, match=f'interval={interval!r} .* integer from 1'):
        BlockLogHook(interval=interval)
