"""tools/analysis_tools/linear_probe.py against probes fitted here."""

import csv

import numpy as np
import pytest
import torch
from mmengine.config import Config
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mman.registry import DATASETS
from tests.helpers.look_inside import (
    ROOT,
    assert_one_error,
    digits_config,
    picture_size,
    save_model,
)
from tests.helpers.run_tool import call_tool

TOOL = 'analysis_tools/linear_probe.py'


pytestmark = pytest.mark.usefixtures('loading_state')


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('probe')
    cfg = digits_config(folder / 'small.py', images=200)
    model = save_model(cfg, folder / 'small.pth')
    return folder, model, call_tool(TOOL, folder / 'small.py', folder / 'small.pth')


@pytest.fixture
def saved(written):
    """Folder, a config to change, and the model."""
    folder, model, _ = written
    return folder, Config.fromfile(folder / 'small.py'), model


def read(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def by_hand(model, dataset):
    """Features after stages of the backbone, run by its own modules, and the labels."""
    images = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    labels = np.array([int(dataset[i]['data_samples'].gt_label) for i in range(len(dataset))])
    found = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
        for name, module in model.backbone.named_modules()
        if name.startswith('layer') and name.count('.') == 1
    ]
    with torch.no_grad():
        model.extract_feat((images.float() - 78) / 96)
    for handle in handles:
        handle.remove()
    return {name: out.mean((2, 3)).numpy() for name, out in found.items()}, labels


def accuracy(train, labels, test, truth):
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1
    probe = LogisticRegression(max_iter=1000).fit((train - mean) / deviation, labels)
    return 100 * np.mean(probe.predict((test - mean) / deviation) == truth)


def test_numbers_are_those_of_probes_fitted_by_hand(saved):
    folder, cfg, model = saved
    places = ['--out', folder / 'a.png', '--csv', folder / 'a.csv', '--device', 'cpu']
    result = call_tool(TOOL, folder / 'small.py', folder / 'small.pth', *places)
    assert result.code == 0, result.errors
    train, labels = by_hand(model, DATASETS.build(cfg.train_dataloader.dataset))
    test, truth = by_hand(model, DATASETS.build(cfg.val_dataloader.dataset))
    lines = read(folder / 'a.csv')
    assert [line['end'] for line in lines] == model.block_ends
    for line in lines:
        stage, index = line['end'].split('.')
        name = f'layer{stage}.{index}'
        expected = accuracy(train[name], labels, test[name], truth)
        assert float(line['val']) == pytest.approx(expected, abs=1.0)  # two images of 200
        assert int(line['features']) == train[name].shape[1]
        assert line['converged'] == 'True'
        assert f'| {line["end"]} | {line["features"]} |' in result.out
        assert f'| {float(line["val"]):.2f} |' in result.out
    assert 'trained on 200 images' in result.out
    assert picture_size(folder / 'a.png') == (840, 540)


def test_the_networks_own_accuracy(saved):
    folder, cfg, model = saved
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    images = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    with torch.no_grad():
        found = model((images.float() - 78) / 96).argmax(1)
    right = sum(int(found[i]) == int(dataset[i]['data_samples'].gt_label) for i in range(200))
    result = call_tool(TOOL, folder / 'small.py', folder / 'small.pth', '--images', 50)
    assert result.code == 0, result.errors
    assert f'The network itself: {right / 2:.2f} (val)' in result.out
    assert 'trained on 50 images' in result.out


def test_augmentation_is_left_out_of_the_training_set(saved, written):
    """With a pipeline that blanks all images a probe would know nothing."""
    folder, cfg, _ = saved
    cfg.train_dataloader.dataset.pipeline.insert(
        0, dict(type='RandomErasing', erase_prob=1.0, min_area_ratio=0.9, max_area_ratio=1.0)
    )
    cfg.dump(folder / 'augmented.py')
    result = call_tool(TOOL, folder / 'augmented.py', folder / 'small.pth')
    assert result.code == 0, result.errors
    assert result.out == written[-1].out


def test_in_memory_data_sets(saved, written):
    folder, cfg, _ = saved
    loader = cfg.train_dataloader
    inner = dict(loader.dataset)
    inner.pop('pipeline')
    loader.dataset = dict(type='InMemoryDataset', dataset=inner)
    loader.collate_fn = dict(type='in_memory_collate')
    cfg.data_preprocessor = dict(
        cfg.data_preprocessor,
        type='BatchAugmentDataPreprocessor',
        augments=[dict(type='BatchRandomFlip')],
    )
    cfg.dump(folder / 'memory.py')
    result = call_tool(TOOL, folder / 'memory.py', folder / 'small.pth')
    assert result.code == 0, result.errors
    assert result.out == written[-1].out


def test_a_probe_reads_what_is_linear(monkeypatch):
    """Raw pixels of the digits: scikit-learn's own examples reach about 95 % with this."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis_tools'))
    from probe_fit import fit_probe

    values, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    probe = fit_probe(values[:1000], labels[:1000], values[1000:], labels[1000:])
    assert probe.features == 64 and probe.converged
    assert 90 < probe.val < 97 and probe.train > 99
    noise = torch.randn(400, 20, generator=torch.Generator().manual_seed(0))
    assert fit_probe(noise[:200], labels[:200], noise[200:], labels[200:400]).val < 20


@pytest.mark.parametrize(
    ('args', 'named'),
    [
        (['absent.pth'], ['absent.pth', 'does not exist']),
        (['small.pth', '--images', '0'], ['--images', "'0'"]),
        (['small.pth', '--images', '1'], ['--images 1', 'one class']),
        (['small.pth', '--device', 'toaster'], ['--device', "'toaster'"]),
        (['small.pth', '--out', 'small.pth'], ['--out', '.png']),
        (['small.pth', '--cfg-options', 'val_dataloader=None'], ['no val_dataloader']),
        (['small.pth', '--cfg-options', 'model.splitter=None'], ['no model.splitter']),
        (['small.pth', '--cfg-options', 'model.type=Absent'], ['Absent', 'registry']),
        (
            ['small.pth', '--cfg-options', 'model.splitter.num_blocks=5'],
            ['4 local blocks', '5 ending'],
        ),
        (['small.py'], ['small.py', 'checkpoint']),
    ],
)
def test_bad_input_ends_in_one_error(saved, args, named):
    folder = saved[0]
    args = [folder / arg if arg.startswith('small.') else arg for arg in args]
    assert_one_error(call_tool(TOOL, folder / 'small.py', *args), *named)


def test_nothing_is_overwritten(saved):
    folder = saved[0]
    (folder / 'a.png').write_bytes(b'kept')
    result = call_tool(TOOL, folder / 'small.py', folder / 'small.pth', '--out', folder / 'a.png')
    assert_one_error(result, 'exists already')
    assert (folder / 'a.png').read_bytes() == b'kept'
