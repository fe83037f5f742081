"""publish_model: what is published is the plain classifier."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook

from mman.apis import get_model
from mman.export import publish_model
from mman.utils import UserError
from tests.helpers.converters import assert_close, plain_digits, plain_scores
from tests.helpers.trained_digits import CONFIG, normalised


def test_a_plain_classifier_named_by_its_checksum(digits, tmp_path):
    path = Path(publish_model(digits.path, str(tmp_path / 'best.pth')))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'best-{digest[:8]}.pth'
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    saved = torch.load(path, weights_only=True)
    assert set(saved) == {'meta', 'state_dict'}
    assert not any(name.startswith('aux_heads.') for name in saved['state_dict'])
    meta = saved['meta']
    assert meta['dataset_meta'] == dict(classes=list('0123456789'))
    assert Config.fromstring(meta['cfg'], '.py').model.splitter.num_blocks == 10
    assert meta['block_ends'] == digits.model.block_ends
    assert 'mman_version' in meta and 'hook_msgs' not in meta
    weights = sum(v.numel() * v.element_size() for v in saved['state_dict'].values())
    assert path.stat().st_size < weights + 100_000
    # mmpretrain's classifier and our own API give the scores of the training.
    for model in (plain_digits(saved['state_dict']), get_model(CONFIG, str(path))):
        assert_close(plain_scores(model, normalised(digits.images)), digits.scores, 0)


def test_with_aux_heads(digits, tmp_path):
    path = publish_model(digits.path, str(tmp_path / 'best'), keep_aux_heads=True)
    saved = torch.load(path, weights_only=True)['state_dict']
    own = digits.model.state_dict()
    assert set(saved) == set(own)
    assert all(torch.equal(saved[name], own[name]) for name in own)


def test_averaged_weights_are_chosen(digits, tmp_path):
    model = get_model(CONFIG, digits.path)
    runner = SimpleNamespace(model=model, iter=1, epoch=0)
    hook = EMAHook(momentum=0.5)
    hook.before_run(runner)
    before = model.head.fc.weight.detach().clone()
    for _ in range(2):
        hook.after_train_iter(runner, 0)
    with torch.no_grad():
        model.head.fc.weight += 1
    hook.after_train_iter(runner, 0)
    checkpoint = dict(meta={}, state_dict=model.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    path = str(tmp_path / 'ema.pth')
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match='averaged and current weights: choose by weights'):
        publish_model(path, str(tmp_path / 'best'))
    for kind, expected in (('averaged', before + 0.5), ('current', before + 1)):
        published = publish_model(path, str(tmp_path / kind), weights=kind)
        saved = torch.load(published, weights_only=True)['state_dict']
        torch.testing.assert_close(saved['head.fc.weight'], expected)


def test_bad_input(digits, tmp_path):
    out = str(tmp_path / 'x')
    for kind, message in (('averaged', "weights='averaged': the"), ('best', "weights='best' sh")):
        with pytest.raises(UserError, match=message):
            publish_model(digits.path, out, weights=kind)
    path = publish_model(digits.path, out)
    before = Path(path).read_bytes()
    with pytest.raises(UserError, match='not overwritten'):
        publish_model(digits.path, out)
    assert Path(path).read_bytes() == before
    with pytest.raises(UserError, match='keep_aux_heads: the checkpoint has no aux heads'):
        publish_model(path, str(tmp_path / 'y'), keep_aux_heads=True)
    (tmp_path / 'broken.pth').write_bytes(b'no checkpoint')
    with pytest.raises(UserError, match=r'broken\.pth'):
        publish_model(str(tmp_path / 'broken.pth'), str(tmp_path / 'y'))
    assert not list(tmp_path.glob('y*'))
