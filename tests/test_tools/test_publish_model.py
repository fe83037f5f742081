"""tools/model_converters/publish_model.py: what is published is the plain classifier."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook

from mman.apis import get_model
from tests.helpers.converters import assert_close, error_of, plain_digits, plain_scores, succeeded
from tests.helpers.run_tool import call_tool
from tests.helpers.trained_digits import CONFIG, normalised


def published_file(result):
    (path,) = [line for line in succeeded(result).splitlines() if line.endswith('.pth')]
    return Path(path)


class TestPublish:
    tool = 'model_converters/publish_model.py'

    def test_a_plain_classifier_named_by_its_checksum(self, digits, tmp_path):
        path = published_file(call_tool(self.tool, digits.path, tmp_path / 'best.pth'))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.name == f'best-{digest[:8]}.pth'
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        saved = torch.load(path, weights_only=True)
        assert set(saved) == {'meta', 'state_dict'}
        assert_close(
            plain_scores(plain_digits(saved['state_dict']), normalised(digits.images)),
            digits.scores,
            0,
        )
        assert not any(name.startswith('aux_heads.') for name in saved['state_dict'])
        meta = saved['meta']
        assert meta['dataset_meta'] == dict(classes=list('0123456789'))
        assert Config.fromstring(meta['cfg'], '.py').model.splitter.num_blocks == 10
        assert meta['block_ends'] == digits.model.block_ends
        assert 'mman_version' in meta and 'hook_msgs' not in meta
        weights = sum(v.numel() * v.element_size() for v in saved['state_dict'].values())
        assert path.stat().st_size < weights + 100_000

    def test_it_is_read_by_our_api(self, digits, tmp_path):
        path = published_file(call_tool(self.tool, digits.path, tmp_path / 'best'))
        model = get_model(CONFIG, str(path))
        assert_close(plain_scores(model, normalised(digits.images)), digits.scores, 0)

    def test_with_aux_heads(self, digits, tmp_path):
        result = call_tool(self.tool, digits.path, tmp_path / 'best', '--keep-aux-heads')
        saved = torch.load(published_file(result), weights_only=True)['state_dict']
        own = digits.model.state_dict()
        assert set(saved) == set(own)
        assert all(torch.equal(saved[name], own[name]) for name in own)

    def test_averaged_weights_are_chosen(self, digits, tmp_path):
        model = get_model(CONFIG, str(digits.path))
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
        path = tmp_path / 'ema.pth'
        torch.save(checkpoint, path)
        line = error_of(call_tool(self.tool, path, tmp_path / 'best'))
        assert '--weights' in line and 'averaged' in line
        for kind, expected in (('averaged', before + 0.5), ('current', before + 1)):
            result = call_tool(self.tool, path, tmp_path / kind, '--weights', kind)
            saved = torch.load(published_file(result), weights_only=True)['state_dict']
            torch.testing.assert_close(saved['head.fc.weight'], expected)

    def test_bad_input(self, digits, tmp_path):
        line = error_of(call_tool(self.tool, digits.path, tmp_path / 'x', '--weights', 'averaged'))
        assert '--weights averaged' in line
        path = published_file(call_tool(self.tool, digits.path, tmp_path / 'x'))
        before = path.read_bytes()
        assert 'not overwritten' in error_of(call_tool(self.tool, digits.path, tmp_path / 'x'))
        assert path.read_bytes() == before
        result = call_tool(self.tool, path, tmp_path / 'y', '--keep-aux-heads')
        assert '--keep-aux-heads' in error_of(result)
        (tmp_path / 'broken.pth').write_bytes(b'no checkpoint')
        line = error_of(call_tool(self.tool, tmp_path / 'broken.pth', tmp_path / 'y'))
        assert 'broken.pth' in line
        assert not list(tmp_path.glob('y*'))
