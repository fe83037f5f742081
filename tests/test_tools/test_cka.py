"""tools/analysis_tools/cka.py against the formulas of its sources."""

import csv

import numpy as np
import pytest
import torch

from mman.registry import DATASETS
from tests.helpers.look_inside import (
    ROOT,
    assert_one_error,
    digits_config,
    picture_size,
    save_model,
)
from tests.helpers.run_tool import call_tool

TOOL = 'analysis_tools/cka.py'
pytestmark = pytest.mark.usefixtures('loading_state')


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis_tools'))
    import cka_figure
    import cka_matrix

    return cka_matrix, cka_figure


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cka')
    cfg = digits_config(folder / 'small.py', images=40)
    models = [save_model(cfg, folder / f'{seed}.pth', seed) for seed in (0, 1)]
    return folder, cfg, models


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


def compute(tool, x, y, unbiased):
    sides = [
        tool[0].centred(tool[0].gram_matrix([torch.tensor(a)]), unbiased)[None] for a in (x, y)
    ]
    return tool[0].cka(*sides)[0][0]


@pytest.mark.parametrize('unbiased', [False, True])
def test_the_formula(tool, unbiased):
    x = features(12, 0, shift=3.0)
    y = x[:, :5] + features(5, 1)
    expected = FORMULAS[unbiased](x, y)
    assert 0.2 < expected < 0.9
    assert compute(tool, x, y, unbiased) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('unbiased', [False, True])
def test_invariances(tool, unbiased):
    x, y = features(8, 0), features(8, 1) + features(8, 0)
    plain = compute(tool, x, y, unbiased)
    rotation = np.linalg.qr(features(30, 2)[:8, :8])[0]
    assert compute(tool, x @ rotation, y, unbiased) == pytest.approx(plain, rel=1e-9)
    assert compute(tool, x, 7 * y + 2, unbiased) == pytest.approx(plain, rel=1e-9)
    assert compute(tool, y, x, unbiased) == pytest.approx(plain, rel=1e-9)
    assert compute(tool, x, 3 * x @ rotation, unbiased) == pytest.approx(1, rel=1e-9)
    # Not under any invertible map, which is what CKA was made for.
    stretched = x * np.array([10.0] + [1.0] * 7)
    assert abs(compute(tool, stretched, y, unbiased) - plain) > 0.05


def test_only_the_biased_one_finds_likeness_in_noise(tool):
    x, y = features(500, 0), features(500, 1)
    assert compute(tool, x, y, False) > 0.9
    assert abs(compute(tool, x, y, True)) < 0.05


def test_many_columns_in_parts(tool, monkeypatch):
    x = torch.tensor(features(50, 0)).reshape(30, 2, 5, 5)
    whole = tool[0].gram_matrix([x])
    monkeypatch.setattr(tool[0], 'COLUMNS', 7)
    torch.testing.assert_close(tool[0].gram_matrix([x[:13], x[13:]]), whole)


def stages(model, dataset):
    """Outputs of the backbone's own modules, flattened, for all images."""
    images = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    found = {}
    for name in model.block_ends:
        stage, index = name.split('.')
        module = model.backbone.get_submodule(f'layer{stage}.{index}')
        module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
    with torch.no_grad():
        model.extract_feat((images.float() - 78) / 96)
    return {name: out.flatten(1).double().numpy() for name, out in found.items()}


@pytest.mark.parametrize('unbiased', [False, True])
def test_two_checkpoints(saved, tmp_path, unbiased):
    folder, cfg, models = saved
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    first, second = (stages(model, dataset) for model in models)
    result = call_tool(
        *(TOOL, folder / 'small.py', folder / '0.pth', '--device', 'cpu'),
        *('--other', folder / 'small.py', folder / '1.pth'),
        *('--out', tmp_path / 'a.png', '--csv', tmp_path / 'a.csv'),
        *(['--unbiased'] if unbiased else []),
    )
    assert result.code == 0, result.errors
    kind = 'unbiased' if unbiased else 'biased'
    assert f'Linear CKA ({kind}) of 40 images, 4 x 4 blocks' in result.out
    with open(tmp_path / 'a.csv', newline='') as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 16
    for line in lines:
        expected = FORMULAS[unbiased](first[line['end']], second[line['other_end']])
        assert float(line['cka']) == pytest.approx(expected, abs=1e-5)
    assert picture_size(tmp_path / 'a.png') == (840, 720)


def test_one_checkpoint_with_itself(saved, tmp_path):
    folder, _, _ = saved
    places = ['--out', tmp_path / 'a.png', '--csv', tmp_path / 'a.csv', '--images', 20]
    result = call_tool(TOOL, folder / 'small.py', folder / '0.pth', *places)
    assert result.code == 0, result.errors
    assert 'of 20 images' in result.out
    with open(tmp_path / 'a.csv', newline='') as file:
        values = {
            (line['block'], line['other_block']): float(line['cka'])
            for line in csv.DictReader(file)
        }
    for (i, j), value in values.items():
        assert value == pytest.approx(values[j, i])
        assert (value == pytest.approx(1)) == (i == j)


@pytest.mark.parametrize('shape', [(1, 1), (3, 55)])
def test_pictures_of_any_size(tool, tmp_path, shape):
    matrix = np.random.default_rng(0).random(shape).tolist()
    sides = [tool[0].Side('a', tuple(map(str, range(n))), torch.zeros(n, 4, 4)) for n in shape]
    tool[1].draw(tmp_path / 'a.png', matrix, *sides, 'title')
    assert picture_size(tmp_path / 'a.png') == (840, 720)


@pytest.mark.parametrize(
    ('args', 'named'),
    [
        (['--other', 'small.py'], ['--other', 'expected 2']),
        (['--other', 'small.py', 'absent.pth'], ['absent.pth']),
        (['--other', 'absent.py', '1.pth'], ['absent.py', 'existing']),
        (['--images', '3'], ['--images 3', 'at least 4']),
        (
            ['--cfg-options', 'model.input_shape=(3,16,16)', '--other', 'small.py', '1.pth'],
            ['(3, 8, 8)'],
        ),
    ],
)
def test_bad_input_ends_in_one_error(saved, tmp_path, args, named):
    folder = saved[0]
    args = [folder / arg if arg in ('small.py', '1.pth') else arg for arg in args]
    base = [folder / 'small.py', folder / '0.pth', '--out', tmp_path / 'a.png']
    assert_one_error(call_tool(TOOL, *base, *args), *named)
    assert not (tmp_path / 'a.png').exists()


def test_a_picture_is_asked_for(saved):
    folder = saved[0]
    assert_one_error(call_tool(TOOL, folder / 'small.py', folder / '0.pth'), '--out')
