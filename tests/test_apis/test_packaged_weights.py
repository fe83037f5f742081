"""The networks that come with weights: what mmpretrain, their record and their card say of them."""

import json
import shutil
import statistics

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import build_classifier

from mman import apis
from mman.utils import UserError, packaged_weights
from tests.helpers.pages import DOCS, ROOT
from tests.helpers.run_tool import call_tool, one_error
from tests.helpers.tables import cells

RECORDS = ROOT / 'benchmarks' / 'records'
RECORD = RECORDS / '2026-12-01-pretrained'
NAMES = apis.list_models(pretrained=True)
# The first test images, uint8 (N, 16, 16, 3), RGB.
IMAGES = np.load(ROOT / 'tests' / 'data' / 'cifar10_16px.npy')
CARDS = {row['network'].strip('`'): row for row in cells((DOCS / 'pretrained.md').read_text())}
RUNS = {
    'bp/resnet20_cifar10-16px': 'bp_k1',
    'dgl/resnet20_k10_cifar10-16px': 'dgl_k10',
    'man/resnet20_k10-dgl_cifar10-16px': 'man_dgl_k10',
}


def digits(name):
    """A file of the record: a class for each of the 10,000 test images."""
    return np.array(list((RECORD / f'{name}.txt').read_text().strip()), int)


def predicted(name):
    """What ``mman test`` predicted of every test image."""
    return digits(name.replace('/', '-'))


def test_names():
    assert set(NAMES) == set(CARDS) == set(RUNS) and set(NAMES) <= set(apis.list_models())
    assert apis.list_models('bp/*', pretrained=True) == ['bp/resnet20_cifar10-16px']
    listed = call_tool('misc/list_models.py', '--pretrained').stdout.split()
    assert listed == NAMES == sorted(NAMES)
    folder = packaged_weights.WEIGHTS
    files = [path for path in folder.rglob('*') if path.is_file() and path != packaged_weights.SUMS]
    assert {path.relative_to(folder).as_posix() for path in files} == {f'{n}.pth' for n in NAMES}
    assert all(path.stat().st_size < 2e6 for path in files)


@pytest.mark.parametrize('name', NAMES)
def test_the_card_is_what_the_records_hold(name):
    card, right = CARDS[name], predicted(name) == digits('labels')
    folder = RECORDS / '2026-12-01-compare-cifar10-16px'
    results = sorted(folder.glob(f'{RUNS[name]}_seed*/result.json'))
    top1 = [json.loads(path.read_text())['top1'] for path in results]
    assert len(right) == 10_000 and card['this one, top-1 %'] == f'{100 * right.mean():.2f}'
    assert float(card['this one, top-1 %']) == pytest.approx(top1[int(card['seed'])], abs=1e-3)
    spread = '-'
    if len(top1) > 1:
        spread = f'{statistics.mean(top1):.2f} ± {statistics.stdev(top1):.2f} ({len(top1)})'
    assert card['over seeds'] == spread


@pytest.mark.parametrize('name', NAMES)
def test_the_config_is_the_one_of_the_run(name):
    run = RECORDS / '2026-12-01-compare-cifar10-16px' / 'configs' / f'{RUNS[name]}_seed0.py'
    cfg, trained = apis.load_config(name).to_dict(), Config.fromfile(run).to_dict()
    assert trained.pop('randomness')['seed'] == 0
    cfg.pop('randomness', None)
    # What backpropagation is and does in all configs.
    for key, value in dict(recompute='none', save_on_cpu=False, train_blocks=None).items():
        assert trained['model'].pop(key, value) == cfg['model'].pop(key, value) == value
    assert trained | dict(custom_hooks=trained['custom_hooks'] or None) == dict(
        cfg, custom_hooks=cfg.get('custom_hooks')
    )


@pytest.mark.parametrize('name', NAMES)
def test_a_plain_network_of_mmpretrain_predicts_the_same(name):
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    parts = {key: cfg.model[key] for key in ('backbone', 'neck', 'head')}
    plain = build_classifier(dict(type='ImageClassifier', **parts)).eval()
    path = packaged_weights.packaged_weights(name)
    plain.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
    mean, std = (np.array(cfg.data_preprocessor[key]) for key in ('mean', 'std'))
    pixels = torch.from_numpy((IMAGES - mean) / std).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        scores = plain(pixels).softmax(1)
    assert scores.argmax(1).tolist() == predicted(name)[: len(IMAGES)].tolist()
    found = apis.ImageInferencer(name, pretrained=True)(list(IMAGES), batch_size=len(IMAGES))
    np.testing.assert_allclose([one['pred_scores'] for one in found], scores, atol=1e-5)
    assert 'airplane' in apis.get_model(name, pretrained=True)._dataset_meta['classes']


def test_a_picture_of_any_size_is_averaged(tmp_path):
    name, large = NAMES[0], IMAGES[:8].repeat(5, axis=1).repeat(5, axis=2)
    for i, image in enumerate(large):
        cv2.imwrite(str(tmp_path / f'{i}.png'), image[..., ::-1])
    lines = call_tool('predict.py', name, 'pretrained', tmp_path).stdout.splitlines()
    classes = apis.get_model(name)._dataset_meta['classes']
    assert len(lines) == 8
    for line, label in zip(lines, predicted(name), strict=False):
        # A progress bar may stand before the first.
        assert line.split('\t')[0].endswith(classes[label])


def test_what_does_not_fit_is_told(tmp_path, monkeypatch):
    result = call_tool('predict.py', 'man/resnet20_k10_digits', 'pretrained', 'photo.png')
    one_error(result, 'no weights', 'man/resnet20_k10_digits', *NAMES)
    with pytest.raises(UserError, match='needs the name of a config'):
        apis.get_model(Config(dict(model={})), pretrained=True)
    shutil.copytree(packaged_weights.WEIGHTS, tmp_path / 'weights')
    monkeypatch.setattr(packaged_weights, 'WEIGHTS', tmp_path / 'weights')
    damaged = tmp_path / 'weights' / f'{NAMES[0]}.pth'
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match='SHA-256 [0-9a-f]{64}, but has [0-9a-f]{64}'):
        apis.get_model(NAMES[0], pretrained=True)
    damaged.unlink()
    with pytest.raises(UserError, match='no file'):
        apis.get_model(NAMES[0], pretrained=True)
