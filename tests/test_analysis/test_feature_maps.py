"""mman.analysis.feature_maps against modules run by hand."""

import copy

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mman.analysis.feature_maps import block_maps, draw_maps, read_image
from mman.analysis.inspection import loaded_model, local_model
from mman.registry import DATASETS
from mman.utils import UserError
from tests.helpers.look_inside import digits_config, picture_size, save_model
from tests.helpers.settings import build_model, random_batch

pytestmark = pytest.mark.usefixtures('loading_state')


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp('maps')
    cfg = digits_config(folder / 'small.py')
    model = save_model(cfg, folder / 'small.pth')
    sample = DATASETS.build(cfg.val_dataloader.dataset)[5]['inputs']
    Image.fromarray(sample.permute(1, 2, 0).numpy()).save(folder / 'digit.png')
    return folder, model, sample


def trained_looking(*args, **kwargs):
    """A small model whose copies of units all differ from their sources and each other."""
    model = build_model(*args, **kwargs).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.aux_heads.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def expected_maps(head, x):
    """The three maps by the formulas of the paper, on copies of the units."""
    units = [copy.deepcopy(unit).eval() for unit in (head.momentum_unit, head.bias_unit)]
    momentum, bias = (unit(x) for unit in units)
    s = 1.0 if head.scale is None else head.scale
    return momentum, bias, s * bias + (2 - s) * momentum


@pytest.mark.parametrize('method', ['man', 'manpp'])
def test_maps_are_those_of_the_units(method):
    model = trained_looking(method)
    inputs = torch.randn(1, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    found = block_maps(model, inputs)
    with torch.no_grad():
        whole = model.extract_feat(inputs, stage='backbone')[-1]
        torch.testing.assert_close(found[3], {'block output x': whole[0]})
        for k, head in enumerate(model.aux_heads):
            x = found[k]['block output x'][None]
            momentum, bias, mixed = expected_maps(head, x)
            torch.testing.assert_close(found[k]['momentum(x)'], momentum[0])
            torch.testing.assert_close(found[k]['bias(x)'], bias[0])
            torch.testing.assert_close(found[k]['mixed'], mixed[0])
            assert not torch.allclose(momentum, bias)
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)


def test_tokens_are_laid_out_in_their_grid():
    model = trained_looking('manpp-two-units', 'vit')
    images = random_batch(1)['inputs'] / 255
    found = block_maps(model, images)
    tokens = model.local_blocks[0].units[0].module(images)
    for unit in model.local_blocks[0].units[1:]:
        tokens = unit.module(tokens)
    # A class token, then 4 x 4 patches from left to right, row by row.
    expected = tokens[0, 1:].T.reshape(24, 4, 4)
    torch.testing.assert_close(found[0]['block output x'], expected.detach())
    assert found[0]['mixed'].shape == (24, 4, 4)
    assert found[3]['block output x'].shape == (24, 1, 1)


def test_heads_without_units_give_the_output_alone():
    for maps in block_maps(trained_looking('dgl'), torch.randn(1, 3, 16, 16)).values():
        assert list(maps) == ['block output x']


@pytest.mark.parametrize('memory', [False, True])
def test_an_image_file_is_read_as_the_data_set_is(saved, memory):
    folder, model, sample = saved
    cfg = Config.fromfile(folder / 'small.py')
    if memory:
        inner = dict(cfg.val_dataloader.dataset)
        del inner['pipeline']
        cfg.val_dataloader.dataset = dict(type='InMemoryDataset', dataset=inner)
    shown, inputs = read_image(cfg, model, str(folder / 'digit.png'))
    torch.testing.assert_close(inputs[0], (sample.float() - 78) / 96)
    torch.testing.assert_close(torch.tensor(shown).permute(2, 0, 1), sample)


@pytest.mark.parametrize('to_rgb', [False, True])
@pytest.mark.parametrize('loads', [False, True])
def test_the_order_of_colours(tmp_path, to_rgb, loads):
    cfg = digits_config(tmp_path / 'small.py')
    model = local_model(cfg)
    model.data_preprocessor.to_rgb = to_rgb
    if loads:
        cfg.val_dataloader.dataset.pipeline.insert(0, dict(type='LoadImageFromFile'))
    # More red than a model would ever see of digits.
    Image.new('RGB', (8, 8), (174, 78, 78)).save(tmp_path / 'red.png')
    shown, inputs = read_image(cfg, model, str(tmp_path / 'red.png'))
    # A pipeline loads in BGR: without to_rgb the model has learnt on that.
    red = 2 if loads and not to_rgb else 0
    expected = [1.0 if channel == red else 0.0 for channel in range(3)]
    assert inputs[0, :, 0, 0].tolist() == expected
    assert shown[0, 0].argmax() == red


def test_one_grey_channel(tmp_path):
    changes = {
        'model.input_shape': (1, 8, 8),
        'model.backbone.in_channels': 1,
        'model.aux_head': dict(_delete_=True, type='DGLAuxHead'),
        'data_preprocessor': dict(mean=[78.0], std=[96.0], to_rgb=False, num_classes=10),
    }
    cfg = digits_config(tmp_path / 'grey.py', **changes)
    Image.new('L', (8, 8), 174).save(tmp_path / 'grey.png')
    shown, inputs = read_image(cfg, local_model(cfg), str(tmp_path / 'grey.png'))
    assert inputs.shape == (1, 1, 8, 8) and inputs.unique().tolist() == [1.0]
    assert shown.shape == (8, 8)


@pytest.mark.parametrize(
    ('blocks', 'channels', 'size'),
    [(None, None, (950, 700)), ([1], [0, 3], (950, 380)), ([3], None, (380, 220))],
)
def test_pictures(saved, tmp_path, blocks, channels, size):
    folder, model, _ = saved
    image, inputs = read_image(
        Config.fromfile(folder / 'small.py'), model, str(folder / 'digit.png')
    )
    maps = block_maps(model, inputs, blocks, channels)
    draw_maps(tmp_path / 'a.png', image, maps, channels, 'small')
    assert picture_size(tmp_path / 'a.png') == size


def test_what_cannot_be_drawn(saved, tmp_path):
    folder, model, _ = saved
    cfg, inputs = Config.fromfile(folder / 'small.py'), torch.randn(1, 3, 8, 8)
    with pytest.raises(UserError, match='small.py.* cannot be read'):
        read_image(cfg, model, str(folder / 'small.py'))
    with pytest.raises(UserError, match='block 4 does not exist.*0 to 3'):
        block_maps(model, inputs, blocks=[4])
    with pytest.raises(UserError, match='channel 16 does not exist.*0 to 15'):
        block_maps(model, inputs, channels=[16])
    plain = {key: value for key, value in model.state_dict().items() if 'aux_heads' not in key}
    torch.save(plain, tmp_path / 'plain.pth')
    with pytest.raises(UserError, match='plain.pth.*lacks aux_heads'):
        loaded_model(cfg, str(tmp_path / 'plain.pth'), 'cpu', aux_heads=None)
