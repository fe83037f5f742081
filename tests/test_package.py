"""What `pip install` brings: the package, its configs and tools, and the command `mman`."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tests.helpers import pages

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.full, pytest.mark.slow]

HUB = """
import mman
from mmengine.hub import get_config
from mman.apis import get_model, list_models, load_config
assert 'site-packages' in mman.__file__, mman.__file__
names = list_models('man/*digits')
assert names == ['man/resnet20_k10_digits'], names
cfg = get_config('mman::man/resnet20_k10_digits.py')
assert cfg.model.type == 'LocalImageClassifier'
assert len(get_model('man/resnet20_k10_digits').block_units) == 10
assert load_config('own.py').model.splitter.num_blocks == 5
for name in list_models(pretrained=True):
    get_model(name, pretrained=True)
"""


INFER = """
from mman.apis import ImageInferencer
from mman.datasets import ImageFolder
val = ImageFolder('photos', 'val', pipeline=[])
samples = [val.get_data_info(i) for i in range(len(val))]
config = 'work_dirs/resnet18_k4_folder/resnet18_k4_folder.py'
infer = ImageInferencer(config, config.replace('resnet18_k4_folder.py', 'epoch_1.pth'))
found = infer([sample['img_path'] for sample in samples])
right = [one['pred_label'] == sample['gt_label'] for one, sample in zip(found, samples)]
print(f'top-1: {100 * sum(right) / len(right):.2f}')
"""


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A fresh environment with the wheel, and an empty folder to work in."""
    folder = tmp_path_factory.mktemp('package')
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    source = folder / 'source'
    # A build leaves files beside the sources.
    ignore = shutil.ignore_patterns('.*_cache', '.git', '.venv', 'work_dirs', 'data', '_build')
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignore)
    build = ['wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, source]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob('*.whl')
    assert wheel.name.startswith('mman_local-')
    venv = folder / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', venv], check=True)
    (site,) = venv.glob('lib/python*/site-packages')
    (site / 'dependencies.pth').write_text(f'{Path(mmengine.__file__).parents[1]}\n')
    install = ['--python', venv, 'install', '-q', '--no-deps', wheel]
    subprocess.run([*pip, *install], check=True)
    work = folder / 'work'
    work.mkdir()
    return venv / 'bin', work


def run(installed, program, *args):
    """Run a program of the environment in the empty folder, and return what it printed."""
    bin, work = installed
    done = subprocess.run(
        [bin / program, *args], cwd=work, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_configs_are_found_from_any_folder(installed):
    text = "_base_ = 'mman::man/resnet20_k10_digits.py'\nmodel = dict(splitter=dict(num_blocks=5))"
    (installed[1] / 'own.py').write_text(text)
    run(installed, 'python', '-c', HUB)


def test_the_commands_of_the_readme_work_as_printed(installed):
    """Two epochs of training in place of twenty."""
    lines = [line for line in pages.shell_lines(pages.README) if line.startswith('mman ')]
    assert len(lines) == 5
    printed = []
    for line in lines:
        words = shlex.split(line.replace('epoch_20', 'epoch_2'))
        if words[1] == 'train':
            words += ['--cfg-options', 'train_cfg.max_epochs=2']
        printed.append(run(installed, *words))
    listed, trained, resumed, tested, planned = printed
    assert 'man/resnet110_k55_cifar10' in listed.splitlines()
    assert 'Config:' not in trained and 'Local blocks:' in trained and 'eta:' in trained
    top1 = trained.rpartition('accuracy/top1: ')[2].split()[0]
    assert 'epoch_2.pth' in resumed
    assert top1 == f'{float(tested.rpartition("accuracy/top1: ")[2]):.2f}'
    assert planned.startswith('Advice: ') and '| BP ' in planned


def test_the_page_on_your_own_folder_works_as_printed(installed):
    """All ways to measure agree to the last image; one epoch in place of the page's number."""
    work = installed[1]
    rng = np.random.default_rng(0)
    for name in ('cat', 'dog', 'eel'):
        (work / 'photos' / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(work / 'photos' / name / f'{i}.png')
    torch.save(torchvision.models.resnet18().state_dict(), work / 'resnet18-f37072fd.pth')
    printed = {}
    for line in pages.shell_lines(pages.DOCS / 'own_folder.md'):
        words = shlex.split(re.sub(r'epoch_\d+', 'epoch_1', line))
        if words[1] == 'train':
            words += [] if '--cfg-options' in words else ['--cfg-options']
            words += ['train_cfg.max_epochs=1']
        # The options may be followed by others.
        if '--auto-scale-lr' in words:
            words.remove('--auto-scale-lr')
            words.insert(3, '--auto-scale-lr')
        printed[words[1]] = run(installed, *words)
    assert len(printed['predict'].splitlines()) == 10 and 'photos/cat/0.png' in printed['predict']
    tested = float(printed['test'].partition('accuracy/top1: ')[2].split()[0])
    trained = float(printed['train'].rpartition('accuracy/top1: ')[2].split()[0])
    last = printed['exits'].strip().splitlines()[-1]
    assert f'{tested:.2f}' == f'{trained:.2f}' == last.split('|')[4].strip()
    assert f'top-1: {tested:.2f}' in run(installed, 'python', '-c', INFER)
