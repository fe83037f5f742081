"""The example project: a head outside the package, chosen by config alone."""

import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from mman.models.aux_heads import LocalBatch, MomentumAuxHead
from mman.models.classifiers import exit_blocks, exit_logits
from mman.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'projects' / 'example_custom_head' / 'configs'
ALONE, HOSTED = 'cosine_resnet20_k10_digits.py', 'man-cosine_resnet20_k10_digits.py'


def read(name):
    cfg = Config.fromfile(FOLDER / name)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    return cfg


def cosine_head(aux_head):
    """The CosineAuxHead in an aux head."""
    head = aux_head.host if isinstance(aux_head, MomentumAuxHead) else aux_head
    assert type(head).__name__ == 'CosineAuxHead'
    return head


@pytest.mark.parametrize('name', [ALONE, pytest.param(HOSTED, marks=pytest.mark.full)])
def test_training_lowers_every_local_loss(name, tmp_path):
    cfg = read(name)
    cfg.work_dir = str(tmp_path)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
    cfg.default_hooks.block_log.interval = 6
    cfg.default_hooks.checkpoint = None
    cfg.randomness = dict(seed=0)
    cfg.experiment_name = tmp_path.name
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    before = [cosine_head(head).class_vectors.clone() for head in runner.model.aux_heads]
    runner.train()
    assert len(before) == 9
    for vectors, head in zip(before, runner.model.aux_heads, strict=True):
        assert not torch.equal(vectors, cosine_head(head).class_vectors)
    (log,) = tmp_path.glob('*/block_losses.jsonl')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    # Less is asked of the stem, one convolution, and of the last block, whose head is plain.
    for k in range(10):
        first, last = records[0]['losses'][k], records[-1]['losses'][k]
        assert last < (0.9 * first if 0 < k < 9 else first), k
    # Chance is 10.
    assert runner.message_hub.get_scalar('val/accuracy/top1').current() > 20


def test_the_loss_is_the_cross_entropy_of_scaled_cosines():
    head = MODELS.build(read(ALONE).model).aux_heads[4]
    shape = head.context.feature_shape
    features = torch.randn(3, *shape, dtype=torch.float64)
    labels = [7, 0, 7]
    batch = LocalBatch(torch.zeros(3, 3, 8, 8), [DataSample().set_gt_label(i) for i in labels])
    loss = head.double().loss(features, batch)['loss_cosine']
    expected = 0.0
    for feature, label in zip(features, labels, strict=True):
        pooled = [float(channel.sum()) / channel.numel() for channel in feature]
        logits = [10 * cosine(pooled, vector.tolist()) for vector in head.class_vectors]
        expected += math.log(sum(map(math.exp, logits))) - logits[label]
    assert loss.item() == pytest.approx(expected / 3, rel=1e-9)


def cosine(a, b):
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_inside_the_momentum_head_it_sees_the_next_units_shape():
    model = MODELS.build(read(HOSTED).model)
    # Stages of three units at 16, 32 and 64 channels; block 0 is the stem.
    nexts = [(16, 8, 8)] * 3 + [(32, 4, 4)] * 3 + [(64, 2, 2)] * 3
    assert [cosine_head(head).context.feature_shape for head in model.aux_heads] == nexts
    assert [tuple(cosine_head(h).class_vectors.shape) for h in model.aux_heads] == [
        (10, shape[0]) for shape in nexts
    ]
    own = [(16, 8, 8)] * 4 + [(32, 4, 4)] * 3 + [(64, 2, 2)] * 2
    assert [head.context.feature_shape for head in model.aux_heads] == own


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'model.aux_head.scales': 3.0},
            r"model\.aux_head has the unknown key 'scales' \(value 3\.0\).*did you mean 'scale'",
        ),
        ({'model.aux_head.scale': 0}, 'scale=0 of CosineAuxHead should be above 0'),
        ({'model.aux_head.context': 1}, "unknown key 'context'"),
    ],
)
def test_a_wrong_key_or_value_is_named(options, message):
    cfg = read(ALONE)
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg.model)


def test_a_wrong_key_of_the_host_is_named():
    cfg = read(HOSTED)
    cfg.model.aux_head.host.scales = 3.0
    with pytest.raises(ValueError, match="aux_head.host has the unknown key 'scales'"):
        MODELS.build(cfg.model)


@pytest.mark.parametrize('config', [ALONE, HOSTED])
def test_every_block_is_an_early_exit(config):
    model = MODELS.build(read(config).model).eval()
    assert exit_blocks(model) == list(range(model.num_blocks))
    with torch.no_grad():
        scores = dict(exit_logits(model, torch.randn(3, 3, 8, 8), range(model.num_blocks)))
    for k, head in enumerate(model.aux_heads):
        # Cosines times the factor, which is 10.
        assert scores[k].shape == (3, 10) and scores[k].abs().max() <= 10
        cosine_head(head).scale = 0.5
    with torch.no_grad():
        smaller = dict(exit_logits(model, torch.randn(3, 3, 8, 8), range(model.num_blocks)))
    assert all(smaller[k].abs().max() <= 0.5 for k in range(model.num_blocks - 1))
