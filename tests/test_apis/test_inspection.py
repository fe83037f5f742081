"""What tools share that look inside a model, on every kind of backbone."""

import re

import pytest
import torch
from mmengine.config import Config

from mman.apis.inspection import (
    block_outputs,
    outputs_by_block,
    plain_loader,
    pooled,
)
from mman.apis.models import load_weights
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
    in_parts = list(outputs_by_block(model, images.split(3)))
    for whole, parts in zip(outputs, in_parts, strict=True):
        assert [len(part) for part in parts] == [3, 1]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)


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


def test_a_checkpoint_of_several_processes(tmp_path, loading_state):
    saved, model = build_model(), build_model('manpp').eval()
    state = {f'module.{key}': value + 1 for key, value in build_model('manpp').state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    load_weights(model, str(tmp_path / 'a.pth'))
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[f'module.{key}'])
    torch.save(saved.state_dict(), tmp_path / 'b.pth')
    with pytest.raises(UserError, match='lacks aux_heads'):
        load_weights(model, str(tmp_path / 'b.pth'), aux_heads=True)


@pytest.mark.parametrize(
    ('content', 'named'),
    [([1, 2], "has no 'state_dict'"), (dict(b=torch.ones(1)), 'does not fit')],
)
def test_a_file_that_is_no_checkpoint(tmp_path, loading_state, content, named):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=named):
        load_weights(build_model(), str(tmp_path / 'a.pth'))


@pytest.mark.parametrize(
    'change', [torch.Tensor.to_sparse, lambda p: p * 1j], ids=['sparse', 'complex']
)
def test_weights_of_another_kind_change_nothing(tmp_path, loading_state, change):
    model, state = build_model(), build_model().state_dict()
    name = [name for name in state if name.endswith('weight')][-1]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    changed = {key: value + 1 for key, value in state.items()} | {name: change(state[name])}
    torch.save(dict(state_dict=changed), tmp_path / 'a.pth')
    with pytest.raises(UserError, match=f'has misshapen {re.escape(name)}'):
        load_weights(model, tmp_path / 'a.pth')
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_loader_needs_a_way_to_read(tmp_path):
    cfg = Config.fromfile('configs/man/resnet20_k10_digits.py')
    del cfg.val_dataloader.dataset['pipeline']
    with pytest.raises(UserError, match='val_dataloader.dataset has no pipeline'):
        plain_loader(cfg, 'train_dataloader')
