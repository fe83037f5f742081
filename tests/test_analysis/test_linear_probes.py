"""mman.analysis.linear_probes against probes fitted here."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mman.analysis.inspection import local_model
from mman.analysis.linear_probes import (
    draw_probes,
    fit_probe,
    probe_blocks,
    probe_text,
    write_probes,
)
from mman.registry import DATASETS
from mman.utils import UserError
from tests.helpers.look_inside import (
    digits_config,
    in_memory,
    picture_size,
    save_model,
    unit_outputs,
)
from tests.helpers.tables import cells, csv_rows


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """The path of a config, its model, and the probes of it."""
    path = tmp_path_factory.mktemp('probe') / 'small.py'
    cfg = digits_config(path, images=200)
    model = save_model(cfg, path.with_suffix('.pth'))
    return path, model, probe_blocks(Config.fromfile(path), model)


@pytest.fixture
def cfg(saved):
    """The config, to be changed."""
    return Config.fromfile(saved[0])


def accuracy(train, labels, test, truth):
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1
    probe = LogisticRegression(max_iter=1000).fit((train - mean) / deviation, labels)
    return 100 * np.mean(probe.predict((test - mean) / deviation) == truth)


def test_numbers_are_those_of_probes_fitted_by_hand(saved, cfg, tmp_path):
    _, model, found = saved
    train, labels = unit_outputs(model, DATASETS.build(cfg.train_dataloader.dataset))
    test, truth = unit_outputs(model, DATASETS.build(cfg.val_dataloader.dataset))
    write_probes(tmp_path / 'a.csv', found)
    lines = csv_rows(tmp_path / 'a.csv')
    text = probe_text(found)
    assert 'trained on 200 images' in text
    assert [line['end'] for line in lines] == model.block_ends
    for line, row in zip(lines, cells(text), strict=True):
        pooled = [out[line['end']].mean((2, 3)).numpy() for out in (train, test)]
        expected = accuracy(pooled[0], labels, pooled[1], truth)
        assert float(line['val']) == pytest.approx(expected, abs=1.0)  # two images of 200
        assert int(line['features']) == pooled[0].shape[1]
        assert line['converged'] == 'True'
        assert row['last unit'] == line['end'] and row['features'] == line['features']
        assert row['val'] == f'{float(line["val"]):.2f}'
    draw_probes(tmp_path / 'a.png', found, 'small')
    assert picture_size(tmp_path / 'a.png') == (840, 540)


def test_the_networks_own_accuracy(saved, cfg):
    _, model, found = saved
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    images = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    with torch.no_grad():
        scores = model((images.float() - 78) / 96).argmax(1)
    right = sum(int(scores[i]) == int(dataset[i]['data_samples'].gt_label) for i in range(200))
    assert f'The network itself: {right / 2:.2f} (val)' in probe_text(found)
    assert probe_blocks(cfg, model, 50).num_images == 50
    with pytest.raises(UserError, match='images=1 gives training images of one class'):
        probe_blocks(cfg, model, 1)


def test_augmentation_is_left_out_of_the_training_set(saved, cfg):
    """With a pipeline that blanks all images a probe would know nothing."""
    cfg.train_dataloader.dataset.pipeline.insert(
        0, dict(type='RandomErasing', erase_prob=1.0, min_area_ratio=0.9, max_area_ratio=1.0)
    )
    assert probe_blocks(cfg, saved[1]) == saved[2]


def test_in_memory_data_sets(saved, cfg):
    model = local_model(in_memory(cfg, dict(type='BatchRandomFlip')))
    model.load_state_dict(saved[1].state_dict())
    assert probe_blocks(cfg, model) == saved[2]


def test_a_probe_reads_what_is_linear():
    """Raw pixels of the digits: scikit-learn's own examples reach about 95 % with this."""
    values, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    probe = fit_probe(values[:1000], labels[:1000], values[1000:], labels[1000:])
    assert probe.features == 64 and probe.converged
    assert 90 < probe.val < 97 and probe.train > 99
    noise = torch.randn(400, 20, generator=torch.Generator().manual_seed(0))
    assert fit_probe(noise[:200], labels[:200], noise[200:], labels[200:400]).val < 20
