"""What tools share that look inside a model, on every kind of backbone."""

import pytest
import torch
from mmengine.config import Config

from mman.analysis.inspection import block_outputs, plain_loader
from mman.analysis.linear_probes import pooled
from mman.utils.errors import UserError
from tests.helpers.look_inside import digits_config
from tests.helpers.settings import build_model, image_size


@pytest.mark.parametrize('backbone', ['vit', pytest.param('swin', marks=pytest.mark.full)])
def test_the_last_output_is_the_backbones(backbone):
    size = image_size(backbone)
    model = build_model(backbone=backbone, size=size).eval()
    images = torch.randn(4, 3, size, size)
    outputs = list(block_outputs(model, images))
    assert len(outputs) == 4 and not any(x.requires_grad for x in outputs)
    with torch.no_grad():
        torch.testing.assert_close(outputs[-1], model.backbone(images)[-1])


def test_gradients_are_on_between_blocks():
    for _ in block_outputs(build_model().eval(), torch.randn(2, 3, 16, 16)):
        assert torch.is_grad_enabled()


def test_pooled():
    vit = build_model(backbone='vit').block_units
    assert vit[0][-1].num_extra_tokens == 1
    tokens = torch.arange(12.0).reshape(1, 3, 4)
    assert pooled(tokens, vit[0][-1]).tolist() == [[0.0, 1.0, 2.0, 3.0]]
    resnet = build_model().block_units
    assert pooled(tokens, resnet[0][-1]).tolist() == [[4.0, 5.0, 6.0, 7.0]]
    assert pooled(tokens.reshape(1, 3, 2, 2), resnet[0][-1]).tolist() == [[1.5, 5.5, 9.5]]
    assert pooled(tokens[:, 0], vit[-1][-1]).tolist() == [[0.0, 1.0, 2.0, 3.0]]


def indices(loader):
    return [int(i) for data in loader for i in data['inputs'].flatten(1).sum(1)]


def test_some_images_are_always_the_same(tmp_path):
    cfg = digits_config(tmp_path / 'a.py', images=50)
    every, some, again, more = (
        indices(plain_loader(cfg, 'train_dataloader', count)) for count in (None, 20, 20, 99)
    )
    assert len(every) == 50 and every == more
    assert len(some) == 20 and some == again
    assert set(some) <= set(every) and some != every[:20]


def test_a_loader_needs_a_way_to_read(tmp_path):
    cfg = Config.fromfile('configs/man/resnet20_k10_digits.py')
    del cfg.val_dataloader.dataset['pipeline']
    with pytest.raises(UserError, match='val_dataloader.dataset has no pipeline'):
        plain_loader(cfg, 'train_dataloader')
