"""The command-line tools, run as a user runs them."""

import pickle
import re
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from torch.nn.functional import conv2d

from mman.apis import set_amp, set_resume, summarize
from mman.utils.checkpoint import load_from_local
from mman.validation import check_amp
from tests.helpers.run_tool import call_tool, one_error, run_tool

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder with the tiny config and its modules."""
    folder = tmp_path_factory.mktemp('project')
    for name in ('tiny_data.py', 'tiny_project.py', 'tiny_config.py'):
        shutil.copy(HERE / name, folder)
    return folder


@pytest.fixture(scope='module')
def trained(project):
    """Two epochs of training in the default work dir, and what was printed."""
    result = run_tool('train.py', 'tiny_config.py', '--seed', 3, cwd=project)
    assert result.returncode == 0, result.stderr
    return project / 'work_dirs' / 'tiny_config', result


@pytest.fixture
def call(monkeypatch, project):
    """Run a tool inside this process, for what ends before a Runner is built."""
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    return call_tool


def weights_of(path):
    return load_from_local(path)['state_dict']


def predict(path, project):
    """Predicted and given labels of the validation set, without any of the libraries' code."""
    weights = weights_of(path)
    images, labels = runpy.run_path(str(project / 'tiny_data.py'))['make_data'](50, 2)
    images = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 60) / 60
    features = conv2d(images, weights['backbone.conv.weight'], weights['backbone.conv.bias'])
    features = features.relu().mean(dim=(2, 3))
    scores = features @ weights['head.fc.weight'].T + weights['head.fc.bias']
    return scores.argmax(1).numpy(), labels


def test_training_reports_the_accuracy_of_the_checkpoint(project, trained):
    work_dir, result = trained
    predicted, labels = predict(work_dir / 'epoch_2.pth', project)
    accuracy = 100 * np.mean(predicted == labels)
    report = result.stdout.strip().splitlines()[-4:]
    assert report[0] == f'accuracy/top1: {accuracy:.2f} (last validation)'
    assert report[1].split() == ['work', 'dir:', str(work_dir)]
    assert report[2].split() == ['checkpoint:', str(work_dir / 'epoch_2.pth')]
    log = Path(report[3].split()[1])
    assert log.is_file() and log.is_relative_to(work_dir)


def test_summary_gives_the_last_accuracy_not_the_best(tmp_path):
    history = HistoryBuffer([50.0, 90.5, 70.25], [1, 1, 1])
    hub = SimpleNamespace(log_scalars={'train/loss': history, 'val/accuracy/top1': history})
    runner = SimpleNamespace(
        message_hub=hub, work_dir=str(tmp_path), log_dir=str(tmp_path / 'now'), timestamp='now'
    )
    assert summarize(runner).splitlines() == [
        'accuracy/top1: 70.25 (last validation)',
        f'work dir:   {tmp_path}',
        'checkpoint: none was saved',
        f'log:        {tmp_path / "now" / "now.log"}',
    ]
    hub.log_scalars.clear()
    assert 'not measured' in summarize(runner).splitlines()[0]


def test_seed_reaches_the_runner(trained):
    work_dir, _ = trained
    meta = load_from_local(work_dir / 'epoch_1.pth')['meta']
    assert meta['seed'] == 3


def test_resumed_training_ends_as_the_uninterrupted_one(fork_tool, project, trained, tmp_path):
    # What a job leaves that was stopped after its first epoch, in a folder moved since.
    work_dir, _ = trained
    shutil.copy(work_dir / 'epoch_1.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(project / 'gone' / 'epoch_1.pth'))
    before = (tmp_path / 'epoch_1.pth').read_bytes()
    arguments = ['tiny_config.py', '--work-dir', tmp_path, '--seed', 3, '--resume']
    result = fork_tool('train.py', *arguments, cwd=project)
    assert result.returncode == 0, result.stderr
    straight, resumed = weights_of(work_dir / 'epoch_2.pth'), weights_of(tmp_path / 'epoch_2.pth')
    first = weights_of(work_dir / 'epoch_1.pth')
    assert straight.keys() == resumed.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name
    assert any(not torch.equal(first[name], straight[name]) for name in first)
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before


def test_testing_gives_the_accuracy_and_predictions_of_the_checkpoint(
    fork_tool, project, trained, tmp_path
):
    checkpoint = trained[0] / 'epoch_2.pth'
    out = tmp_path / 'predictions.pkl'
    arguments = ['tiny_config.py', checkpoint, '--work-dir', tmp_path / 'work', '--out', out]
    result = fork_tool('test.py', *arguments, cwd=project)
    assert result.returncode == 0, result.stderr
    predicted, labels = predict(checkpoint, project)
    printed = re.search(r'^accuracy/top1: ([\d.]+)$', result.stdout, re.M)
    assert float(printed.group(1)) == pytest.approx(100 * np.mean(predicted == labels), abs=1e-3)
    dumped = pickle.loads(out.read_bytes())
    assert [int(sample['pred_label']) for sample in dumped] == predicted.tolist()


def test_testing_refuses_weights_of_another_model(fork_tool, project, trained, tmp_path):
    checkpoint = load_from_local(trained[0] / 'epoch_2.pth')
    del checkpoint['state_dict']['head.fc.weight']
    torch.save(checkpoint, tmp_path / 'other.pth')
    arguments = ['tiny_config.py', tmp_path / 'other.pth', '--work-dir', tmp_path / 'work']
    result = fork_tool('test.py', *arguments, cwd=project)
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert 'other.pth' in last and 'head.fc.weight' in last
    assert 'accuracy/top1:' not in result.stdout


TRAIN, TEST, PRINT = 'train.py tiny_config.py', 'test.py tiny_config.py', 'misc/print_config.py'


@pytest.mark.parametrize(
    ('command', 'named'),
    [
        ('train.py absent.py', ['absent.py', 'existing']),
        (f'{TRAIN} --resume absent.pth', ['--resume', 'absent.pth']),
        (f'{TRAIN} --seed -1', ['--seed', '-1', '2**32']),
        (f'{TRAIN} --seed {2**32}', ['--seed', str(2**32)]),
        (f'{TRAIN} --launcher ssh', ['--launcher', 'ssh', 'pytorch']),
        (f'{TRAIN} --work-dir tiny_config.py', ['tiny_config.py', 'file']),
        (f'{TRAIN} --cfg-options a.b', ['a.b', 'KEY=VALUE']),
        (f'{TRAIN} --cfg-options a=1,(2', ['--cfg-options', '1,(2']),
        (f'{TRAIN} --cfg-options train_cfg.max_epochs.a=1', ['--cfg-options', 'max_epochs']),
        (
            f'{TRAIN} --amp --cfg-options optim_wrapper.type=Own',
            ['--amp', 'optim_wrapper.type', 'Own'],
        ),
        (
            f'{TRAIN} --work-dir tiny_config.py/below',
            ["work_dir='tiny_config.py/below' cannot be written (Not a directory)"],
        ),
        (f'{TRAIN} --work-dir {"long" * 99}', ['longlong', 'cannot be used: File name too long']),
        (f'{TEST} absent.pth', ['checkpoint', 'absent.pth']),
        (f'{TEST} tiny_config.py --out out.txt', ['--out', 'out.txt', '.pkl']),
        (
            f'{TEST} tiny_config.py --out /proc/out.pkl',
            ["the folder of --out='/proc' cannot be written"],
        ),
        (f'{PRINT} tiny_config.py --save-path /proc/x.py', ['/proc/x.py']),
        (f'{PRINT} absent.py', ['absent.py']),
        (f'{PRINT} tiny_config.py --save-path tiny_config.py', ['tiny_config.py', 'overwritten']),
    ],
)
def test_bad_arguments_end_in_one_error(call, project, command, named):
    config = (project / 'tiny_config.py').read_text()
    one_error(call(*command.split()), *named)
    assert (project / 'tiny_config.py').read_text() == config


@pytest.mark.skipif(torch.cuda.is_available(), reason='mixed precision works here')
def test_amp_on_a_cpu_is_refused_before_training(call, tmp_path):
    line = one_error(call('train.py', 'tiny_config.py', '--amp', '--work-dir', tmp_path))
    assert 'AmpOptimWrapper' in line and "'cpu'" in line
    assert not list(tmp_path.iterdir())


BLOCKS = dict(constructor='BlockOptimWrapperConstructor')


@pytest.mark.parametrize(
    ('wrapper', 'expected'),
    [
        ({}, dict(type='AmpOptimWrapper', loss_scale='dynamic')),
        (
            dict(type='OptimWrapper', loss_scale=8.0),
            dict(type='AmpOptimWrapper', loss_scale=8.0),
        ),
        (BLOCKS, dict(BLOCKS, type='BlockAmpOptimWrapper')),
        (
            dict(type='mman.BlockOptimWrapper', dtype='bfloat16'),
            dict(type='BlockAmpOptimWrapper', dtype='bfloat16'),
        ),
        (
            dict(type='BlockAmpOptimWrapper', loss_scale=8.0),
            dict(type='BlockAmpOptimWrapper', loss_scale=8.0),
        ),
    ],
)
def test_amp_changes_the_type_and_keeps_the_rest(wrapper, expected):
    cfg = Config({'optim_wrapper': dict(wrapper)})
    set_amp(cfg, False)
    assert cfg.optim_wrapper.to_dict() == wrapper
    set_amp(cfg, True)
    assert cfg.optim_wrapper.to_dict() == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason='float16 works here')
@pytest.mark.parametrize('kind', ['BlockAmpOptimWrapper', 'mman.BlockAmpOptimWrapper'])
def test_blocks_in_float16_are_refused_on_a_cpu_and_in_bfloat16_not(kind):
    check_amp(Config({'optim_wrapper': dict(type=kind, dtype='bfloat16')}))
    for dtype in ({}, dict(dtype='float16')):
        with pytest.raises(ValueError, match="dtype='float16' needs .* device is 'cpu'.*bfloat16"):
            check_amp(Config({'optim_wrapper': dict(type=kind, **dtype)}))


def test_print_config_shows_and_saves_the_merged_config(call, tmp_path):
    saved = tmp_path / 'merged.py'
    options = ['train_cfg.max_epochs=7', 'test_dataloader.batch_size=5']
    arguments = ['tiny_config.py', '--save-path', saved, '--cfg-options', *options]
    result = call('misc/print_config.py', *arguments)
    assert result.returncode == 0 and not result.stderr
    assert 'max_epochs=7' in result.stdout
    merged = runpy.run_path(str(saved))
    assert merged['train_cfg'] == {'by_epoch': True, 'max_epochs': 7, 'val_interval': 1}
    assert merged['test_dataloader']['batch_size'] == 5
    assert merged['val_dataloader']['batch_size'] == 16


def test_a_slip_at_the_top_level_is_refused(call):
    option = 'train_cfgs.max_epochs=7'
    line = one_error(call('misc/print_config.py', 'tiny_config.py', '--cfg-options', option))
    assert line.count("unknown key 'train_cfgs': did you mean 'train_cfg'") == 1


@pytest.mark.parametrize(
    ('option', 'named'),
    [
        ('train_cfg.max_epoch=7', "did you mean 'max_epochs'"),
        ('val_evaluator.topks=7', "did you mean 'topk'"),
        ('optim_wrapper.optimizer.zzz=1', 'type, lr, momentum'),
    ],
)
def test_a_new_key_is_merged_with_one_warning(call, option, named):
    options = ['--cfg-options', option, 'train_cfg.val_interval=2']
    result = call('misc/print_config.py', 'tiny_config.py', *options)
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith('WARNING') and named in line and option.split('=')[0] in line


def test_resume_without_checkpoint_says_so_and_keeps_the_initial_weights(capsys):
    cfg = Config({'work_dir': 'absent', 'load_from': 'initial.pth'})
    set_resume(cfg, True)
    assert 'starts anew' in capsys.readouterr().err
    assert cfg.load_from == 'initial.pth' and not cfg.get('resume')


def test_a_used_work_dir_is_warned_about(capsys, tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    set_resume(Config({'work_dir': str(tmp_path)}), None)
    (line,) = capsys.readouterr().err.splitlines()
    assert 'WARNING' in line and str(tmp_path) in line and '--resume' in line
