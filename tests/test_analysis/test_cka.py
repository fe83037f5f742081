"""mman.analysis.cka against the formulas of its sources."""

import numpy as np
import pytest
import torch

from mman.analysis import cka
from mman.registry import DATASETS
from mman.utils import UserError
from tests.helpers.look_inside import digits_config, picture_size, save_model, unit_outputs
from tests.helpers.tables import csv_rows


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A config, and two models of it by name."""
    folder = tmp_path_factory.mktemp('cka')
    cfg = digits_config(folder / 'small.py', images=40)
    names = {seed: str(folder / f'{seed}.pth') for seed in (0, 1)}
    return cfg, [
        (cka.model_name(cfg, path), save_model(cfg, path, seed)) for seed, path in names.items()
    ]


def in_features(x, y):
    """Kornblith et al., equation of section 3.3: |Y'X|^2 / (|X'X| |Y'Y|), columns centred."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def song(k, m):
    """Song et al., equation 5: the unbiased estimator of HSIC, from Gram matrices."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    middle = one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def unbiased_cka(x, y):
    k, m = x @ x.T, y @ y.T
    return song(k, m) / np.sqrt(song(k, k) * song(m, m))


FORMULAS = {False: in_features, True: unbiased_cka}


def features(width, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (30, width))


def compute(x, y, unbiased):
    sides = [cka.centred(cka.gram_matrix([torch.tensor(a)]), unbiased)[None] for a in (x, y)]
    return cka.cka(*sides)[0][0]


@pytest.mark.parametrize('unbiased', [False, True])
def test_the_formula(unbiased):
    x = features(12, 0, shift=3.0)
    y = x[:, :5] + features(5, 1)
    expected = FORMULAS[unbiased](x, y)
    assert 0.2 < expected < 0.9
    assert compute(x, y, unbiased) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('unbiased', [False, True])
def test_invariances(unbiased):
    x, y = features(8, 0), features(8, 1) + features(8, 0)
    plain = compute(x, y, unbiased)
    rotation = np.linalg.qr(features(30, 2)[:8, :8])[0]
    assert compute(x @ rotation, y, unbiased) == pytest.approx(plain, rel=1e-9)
    assert compute(x, 7 * y + 2, unbiased) == pytest.approx(plain, rel=1e-9)
    assert compute(y, x, unbiased) == pytest.approx(plain, rel=1e-9)
    assert compute(x, 3 * x @ rotation, unbiased) == pytest.approx(1, rel=1e-9)
    # Not under any invertible map, which is what CKA was made for.
    stretched = x * np.array([10.0] + [1.0] * 7)
    assert abs(compute(stretched, y, unbiased) - plain) > 0.05


def test_only_the_biased_one_finds_likeness_in_noise():
    x, y = features(500, 0), features(500, 1)
    assert compute(x, y, False) > 0.9
    assert abs(compute(x, y, True)) < 0.05


def test_many_columns_in_parts(monkeypatch):
    x = torch.tensor(features(50, 0)).reshape(30, 2, 5, 5)
    whole = cka.gram_matrix([x])
    monkeypatch.setattr(cka, 'COLUMNS', 7)
    torch.testing.assert_close(cka.gram_matrix([x[:13], x[13:]]), whole)


@pytest.mark.parametrize('unbiased', [False, True])
def test_two_checkpoints(saved, tmp_path, unbiased):
    cfg, models = saved
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    first, second = (unit_outputs(model, dataset)[0] for _, model in models)
    found = cka.compare_blocks(cfg, models, unbiased=unbiased)
    assert (found.kind, found.num_images) == ('unbiased' if unbiased else 'biased', 40)
    cka.write_cka(tmp_path / 'a.csv', found)
    lines = csv_rows(tmp_path / 'a.csv')
    assert len(lines) == 16
    for line in lines:
        pair = (first[line['end']], second[line['other_end']])
        expected = FORMULAS[unbiased](*(out.flatten(1).double().numpy() for out in pair))
        assert float(line['cka']) == pytest.approx(expected, abs=1e-5)
    assert lines[0]['model'].startswith('small, cka') and lines[0]['other_model'].endswith('/1.pth')


def test_one_checkpoint_with_itself(saved):
    cfg, models = saved
    found = cka.compare_blocks(cfg, models[:1], images=20)
    assert found.num_images == 20
    matrix = np.array(found.matrix)
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(matrix.diagonal(), 1)
    assert matrix[~np.eye(4, dtype=bool)].max() < 1 - 1e-6


@pytest.mark.parametrize('shape', [(1, 1), (3, 55)])
def test_pictures_of_any_size(tmp_path, shape):
    matrix = np.random.default_rng(0).random(shape).tolist()
    ends = tuple(list(map(str, range(n))) for n in shape)
    cka.draw_cka(tmp_path / 'a.png', cka.CKA(('a', 'b'), ends, 'biased', 4, matrix))
    assert picture_size(tmp_path / 'a.png') == (840, 720)


def test_what_cannot_be_compared(saved):
    cfg, models = saved
    with pytest.raises(UserError, match='images=3 gives 3 images; CKA needs at least 4'):
        cka.compare_blocks(cfg, models, images=3)
    larger = torch.nn.Module()
    larger.input_shape = (3, 16, 16)
    with pytest.raises(
        UserError, match=r'the other model takes images of \(3, 16, 16\), not \(3, 8, 8\)'
    ):
        cka.compare_blocks(cfg, [models[0], ('larger', larger)])
