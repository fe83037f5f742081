"""Whole trainings through the tools and the Runner, on real pictures where there are any."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mman.utils.checkpoint import load_from_local
from tests.helpers.run_tool import one_error

FLAGSHIP = 'configs/man/resnet110_k55_cifar10.py'
DIGITS = 'configs/man/resnet20_k10_digits.py'
# Three blocks instead of ten, and fewer pictures: the same path in less time.
SMALL = [
    'model.splitter.num_blocks=3',
    'model.splitter.strategy=uniform',
    'model.splitter.stem=fused',
    'train_dataloader.dataset.indices=192',
    'val_dataloader.dataset.indices=64',
    'train_cfg.max_epochs=2',
]


@pytest.fixture(scope='module')
def digits(fork_tool, tmp_path_factory):
    """Two epochs in one go."""
    work_dir = tmp_path_factory.mktemp('digits')
    result = fork_tool(
        'train.py', DIGITS, '--work-dir', work_dir, '--seed', 1, '--cfg-options', *SMALL
    )
    assert result.returncode == 0, result.stderr
    return work_dir, result


def test_what_a_training_leaves(digits):
    work_dir, result = digits
    assert 'Local blocks:' in result.stderr + result.stdout
    report = result.stdout.strip().splitlines()[-4:]
    assert report[0].startswith('accuracy/top1: ') and str(work_dir) in report[1]
    (losses,) = work_dir.rglob('block_losses.jsonl')
    records = [json.loads(line) for line in losses.read_text().splitlines()]
    assert all(len(record['losses']) == 3 for record in records)
    checkpoint = load_from_local(work_dir / 'epoch_2.pth')
    assert checkpoint['meta']['block_ends'] == ['1.2', '2.2', '3.2']
    assert int(checkpoint['state_dict']['aux_heads.0.num_updates']) == 2 * 3


def test_testing_a_checkpoint(fork_tool, digits, tmp_path):
    work_dir, trained = digits
    result = fork_tool(
        'test.py',
        *[DIGITS, work_dir / 'epoch_2.pth', '--work-dir', tmp_path, '--cfg-options'],
        *SMALL,
        'test_dataloader.dataset.indices=64',
    )
    assert result.returncode == 0, result.stderr
    accuracy = trained.stdout.strip().splitlines()[-4].split()[1]
    tested = result.stdout.strip().splitlines()[-1].removeprefix('accuracy/top1: ')
    assert float(tested) == pytest.approx(float(accuracy), abs=0.006)


@pytest.mark.full
def test_a_published_model_without_aux_heads_is_tested(fork_tool, digits, tmp_path):
    checkpoint = load_from_local(digits[0] / 'epoch_2.pth')
    state = checkpoint['state_dict']
    published = {k: v for k, v in state.items() if not k.startswith('aux_heads.')}
    torch.save(dict(state_dict=published, meta={}), tmp_path / 'published.pth')
    result = fork_tool(
        'test.py',
        *[DIGITS, tmp_path / 'published.pth', '--work-dir', tmp_path, '--cfg-options'],
        *SMALL,
    )
    assert result.returncode == 0, result.stderr


def test_a_checkpoint_of_another_split_is_refused(fork_tool, digits, tmp_path):
    checkpoint = digits[0] / 'epoch_2.pth'
    before = checkpoint.read_bytes()
    options = [o.replace('num_blocks=3', 'num_blocks=4') for o in SMALL]
    result = fork_tool(
        'train.py',
        *[DIGITS, '--work-dir', tmp_path, '--resume', checkpoint, '--cfg-options'],
        *options,
    )
    line = one_error(result)
    assert '3 local blocks ending at 1.2, 2.2, 3.2, the config 4 ending at' in line
    assert str(checkpoint) in line
    assert checkpoint.read_bytes() == before and not list(tmp_path.glob('*.pth'))


def test_a_bad_config_ends_in_one_line_before_training(fork_tool, tmp_path):
    """Others are in tests/helpers/wrong_configs.py."""
    options = ['model.head.num_classes=12', 'data_preprocessor.num_classes=12']
    result = fork_tool('train.py', DIGITS, '--work-dir', tmp_path, '--cfg-options', *options)
    named = 'model.head.num_classes=12 should be 10, the number of classes of train_dataloader'
    assert named in one_error(result)
    assert 'Epoch(train)' not in result.stdout + result.stderr


@pytest.fixture(scope='module')
def cifar(tmp_path_factory):
    """Files in the layout of CIFAR-10 whose classes are colours."""
    root = tmp_path_factory.mktemp('cifar')
    folder = root / 'cifar-10-batches-py'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']:
        labels = rng.integers(0, 10, 40)
        data = rng.integers(0, 60, (40, 3, 1024)) + 19 * labels[:, None, None]
        batch = dict(data=data.reshape(40, 3072).astype(np.uint8), labels=labels.tolist())
        (folder / name).write_bytes(pickle.dumps(batch))
    return root


def _cifar_options(root):
    return [
        f'{loader}_dataloader.dataset.{key}'
        for loader in ('train', 'val', 'test')
        for key in (f'data_root={root}', 'verify=False')
    ]


@pytest.mark.full
def test_the_flagship_trains(fork_tool, cifar, tmp_path):
    """All 55 blocks, shortened below the ramp of the schedule."""
    result = fork_tool(
        'train.py',
        *[FLAGSHIP, '--work-dir', tmp_path, '--seed', 0, '--cfg-options'],
        *_cifar_options(cifar),
        'train_cfg.max_epochs=2',
        'train_dataloader.batch_size=10',
        'train_dataloader.dataset.indices=50',
        'val_dataloader.dataset.indices=40',
        'default_hooks.logger.interval=1',
        'default_hooks.block_log.interval=1',
    )
    assert result.returncode == 0, result.stderr
    (path,) = tmp_path.rglob('block_losses.jsonl')
    losses = np.array([json.loads(line)['losses'] for line in path.read_text().splitlines()])
    assert losses.shape == (10, 55)
    assert losses[-1].mean() < losses[0].mean()
    log = result.stdout + result.stderr
    lines = [line for line in log.splitlines() if 'Epoch(train)' in line]
    assert lines and all(len(line) <= 240 for line in lines)
    history = load_from_local(tmp_path / 'epoch_2.pth')['message_hub']['log_scalars']
    assert sum(name.startswith('train/') for name in history) < 12


@pytest.mark.full
def test_missing_and_truncated_data_end_in_one_line(fork_tool, cifar, tmp_path):
    options = _cifar_options(tmp_path / 'nowhere')
    options += ['train_dataloader.dataset.download=False', 'model.splitter.num_blocks=1']
    small = ['configs/man/resnet32_k8_cifar10.py', '--work-dir', tmp_path, '--cfg-options']
    line = one_error(fork_tool('train.py', *small, *options))
    assert 'nowhere' in line and 'cifar-10-batches-py' in line
    batch = cifar / 'cifar-10-batches-py' / 'data_batch_3'
    content = batch.read_bytes()
    try:
        batch.write_bytes(content[:-1000])
        options = _cifar_options(cifar) + ['model.splitter.num_blocks=1']
        line = one_error(fork_tool('train.py', *small, *options))
    finally:
        batch.write_bytes(content)
    assert 'data_batch_3' in line and 'truncated' in line


def test_configs_dump_and_load_unchanged(tmp_path):
    cfg = Config.fromfile(FLAGSHIP)
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()
    assert Path(FLAGSHIP).stat().st_size < 1000


@pytest.mark.full
def test_a_memory_budget_is_kept_from_training_to_testing(fork_tool, tmp_path):
    """The choice is made before training, written down, and made again for a test."""
    keys = [
        'memory_budget.gib=0.02',
        'memory_budget.num_blocks=[2]',
        'memory_budget.recompute=[block]',
        'model.splitter.stem=fused',
        'train_dataloader.dataset.indices=64',
        'val_dataloader.dataset.indices=64',
        'test_dataloader.dataset.indices=64',
        'train_cfg.max_epochs=1',
    ]
    common = ['--work-dir', tmp_path, '--cfg-options', *keys]
    trained = fork_tool('train.py', DIGITS, *common)
    assert trained.returncode == 0, trained.stderr
    message = next(line for line in trained.stdout.splitlines() if 'memory_budget of' in line)
    model = Config.fromfile(tmp_path / 'resnet20_k10_digits.py').model
    assert len(model.splitter.ends) == 2 and model.recompute == 'block'
    assert f'K=2, ends {" ".join(model.splitter.ends)}, recompute {model.recompute!r}' in message
    tested = fork_tool('test.py', DIGITS, tmp_path / 'epoch_1.pth', *common)
    assert tested.returncode == 0, tested.stderr
