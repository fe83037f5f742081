"""convert_man_release: converted weights give the numbers of the released code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import build_classifier
from mmpretrain.structures import DataSample

from mman.export import convert_man_release
from mman.models import MomentumAuxHead
from mman.models.aux_heads import LocalBatch
from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.golden_case import GoldenCase, golden_weight
from tests.helpers.trained_digits import CONFIG

GOLDEN = sorted((Path(__file__).resolve().parents[1] / 'data' / 'golden').glob('*.npz'))


class TestRelease:
    def release(self, case, path):
        """A file with the release's names: the weights that its reference run starts from."""
        found = {}
        for group in ('step0/grad', 'step0/ema'):
            for name in case.names(group):
                shape = self.shape(case, group, name)
                found[name] = golden_weight(name, shape)
                # A weight of one dimension is BatchNorm's, whose buffers start at 0 and 1.
                if name.endswith('.weight') and len(shape) == 1:
                    layer = name.removesuffix('.weight')
                    found[f'{layer}.running_mean'] = torch.zeros(shape)
                    found[f'{layer}.running_var'] = torch.ones(shape)
                    if group == 'step0/grad':
                        found[f'{layer}.num_batches_tracked'] = torch.tensor(0)
        # Heads are made for every unit.
        found['aux_classifier_9_9.head.0.weight'] = torch.zeros(3)
        torch.save(dict(state_dict={f'module.{n}': v for n, v in found.items()}), path)
        return str(path)

    @staticmethod
    def shape(case, group, name):
        key = f'{group}/{name}'
        if key in case.arrays:
            return case.arrays[key].shape
        return tuple(case.arrays[f'{key}#shape'].tolist())

    @pytest.mark.parametrize(
        'path',
        [*GOLDEN[:1], *(pytest.param(path, marks=pytest.mark.full) for path in GOLDEN[1:])],
        ids=lambda path: path.stem,
    )
    def test_losses_of_the_release(self, path, tmp_path):
        """The converted file gives the losses that the released code gave with it."""
        case = GoldenCase(path)
        source = self.release(case, tmp_path / 'release.pth')
        out = tmp_path / 'x.pth'
        config = Config(dict(model=case.model_cfg()))
        said = convert_man_release(source, str(out), config)
        assert ' 1 of training left out' in str(said)
        saved = torch.load(out, weights_only=True)
        model = MODELS.build(case.model_cfg())
        model.load_state_dict(saved['state_dict'])
        assert saved['meta']['block_ends'] == model.block_ends
        heads = [head for head in model.aux_heads if isinstance(head, MomentumAuxHead)]
        assert len(heads) == len(case.meta['aux_names'])
        for head in heads:
            weight = head.momentum_unit.state_dict()
            head.start()
            after = head.momentum_unit.state_dict()
            assert all(torch.equal(weight[name], after[name]) for name in weight)
        assert_losses(model, case)

    def test_the_classifier_alone(self, tmp_path):
        case = GoldenCase(GOLDEN[0])
        source = self.release(case, tmp_path / 'release.pth')
        out = tmp_path / 'x.pth'
        convert_man_release(source, str(out))
        saved = torch.load(out, weights_only=True)['state_dict']
        assert {name.split('.')[0] for name in saved} == {'backbone', 'head'}
        cfg = case.model_cfg()
        parts = {key: cfg[key] for key in ('backbone', 'neck', 'head')}
        plain = build_classifier(dict(type='ImageClassifier', **parts)).train()
        plain.load_state_dict(saved)
        with torch.no_grad():
            logits = plain(torch.from_numpy(case.arrays['step0/input']))
        np.testing.assert_allclose(logits, case.arrays['step0/logits'], rtol=1e-4, atol=1e-4)

    def test_bad_input(self, digits, tmp_path):
        case = GoldenCase(GOLDEN[0])
        source = self.release(case, tmp_path / 'release.pth')
        out = tmp_path / 'x.pth'
        saved = torch.load(source, weights_only=True)
        saved['state_dict']['module.surprise'] = torch.zeros(1)
        torch.save(saved, tmp_path / 'odd.pth')
        for checkpoint, config, message in (
            (digits.path, None, 'lacks fc64.weight'),
            (
                source,
                CONFIG,
                'by our names, does not fit .*: it lacks .*the config of its split',
            ),
            (source, 'dgl/resnet32_k16_cifar10', 'config should train with MomentumAuxHead'),
            (str(tmp_path / 'odd.pth'), None, "has 'surprise'"),
        ):
            with pytest.raises(UserError, match=message):
                convert_man_release(checkpoint, str(out), config)
        assert not out.exists()


def assert_losses(model, case):
    """One forward pass in train mode, block by block, against the release's losses."""
    model.train()
    x = torch.from_numpy(case.arrays['step0/input'])
    preprocessor = model.data_preprocessor
    samples = [DataSample().set_gt_label(int(t)) for t in case.arrays['step0/target']]
    batch = LocalBatch(x, samples, preprocessor.mean, preprocessor.std)
    losses = []
    for block in model.local_blocks:
        x, found = block(x, batch)
        losses.append(sum(found.values()).item())
    np.testing.assert_allclose(losses, case.arrays['step0/block_loss'], rtol=1e-5)
