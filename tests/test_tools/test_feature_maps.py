"""tools/visualization/feature_maps.py against modules run by hand."""

import copy

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mman.apis.inspection import local_model
from mman.registry import DATASETS
from tests.helpers.look_inside import (
    ROOT,
    assert_one_error,
    digits_config,
    picture_size,
    save_model,
)
from tests.helpers.run_tool import call_tool
from tests.helpers.settings import build_model, random_batch

TOOL = 'visualization/feature_maps.py'
pytestmark = pytest.mark.usefixtures('loading_state')


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'visualization'))
    import map_image
    import map_panels

    return map_panels.block_maps, map_image.read_image


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
def test_maps_are_those_of_the_units(tool, method):
    model = trained_looking(method)
    inputs = torch.randn(1, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    found = list(tool[0](model, inputs))
    with torch.no_grad():
        whole = model.extract_feat(inputs, stage='backbone')[-1]
        torch.testing.assert_close(found[-1], {'block output x': whole[0]})
        for k, head in enumerate(model.aux_heads):
            x = found[k]['block output x'][None]
            momentum, bias, mixed = expected_maps(head, x)
            torch.testing.assert_close(found[k]['momentum(x)'], momentum[0])
            torch.testing.assert_close(found[k]['bias(x)'], bias[0])
            torch.testing.assert_close(found[k]['mixed'], mixed[0])
            assert not torch.allclose(momentum, bias)
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)


def test_tokens_are_laid_out_in_their_grid(tool):
    model = trained_looking('manpp-two-units', 'vit')
    images = random_batch(1)['inputs'] / 255
    found = list(tool[0](model, images))
    tokens = model.local_blocks[0].units[0].module(images)
    for unit in model.local_blocks[0].units[1:]:
        tokens = unit.module(tokens)
    # A class token, then 4 x 4 patches from left to right, row by row.
    expected = tokens[0, 1:].T.reshape(24, 4, 4)
    torch.testing.assert_close(found[0]['block output x'], expected.detach())
    assert found[0]['mixed'].shape == (24, 4, 4)
    assert found[-1]['block output x'].shape == (24, 1, 1)


def test_heads_without_units_give_the_output_alone(tool):
    for maps in tool[0](trained_looking('dgl'), torch.randn(1, 3, 16, 16)):
        assert list(maps) == ['block output x']


@pytest.mark.parametrize('memory', [False, True])
def test_an_image_file_is_read_as_the_data_set_is(tool, saved, memory):
    folder, model, sample = saved
    cfg = Config.fromfile(folder / 'small.py')
    if memory:
        inner = dict(cfg.val_dataloader.dataset)
        del inner['pipeline']
        cfg.val_dataloader.dataset = dict(type='InMemoryDataset', dataset=inner)
    shown, inputs = tool[1](cfg, model, str(folder / 'digit.png'))
    torch.testing.assert_close(inputs[0], (sample.float() - 78) / 96)
    torch.testing.assert_close(torch.tensor(shown).permute(2, 0, 1), sample)


@pytest.mark.parametrize('to_rgb', [False, True])
@pytest.mark.parametrize('loads', [False, True])
def test_the_order_of_colours(tool, tmp_path, to_rgb, loads):
    cfg = digits_config(tmp_path / 'small.py')
    model = local_model(cfg)
    model.data_preprocessor.to_rgb = to_rgb
    if loads:
        cfg.val_dataloader.dataset.pipeline.insert(0, dict(type='LoadImageFromFile'))
    # More red than a model would ever see of digits.
    Image.new('RGB', (8, 8), (174, 78, 78)).save(tmp_path / 'red.png')
    shown, inputs = tool[1](cfg, model, str(tmp_path / 'red.png'))
    # A pipeline loads in BGR: without to_rgb the model has learnt on that.
    red = 2 if loads and not to_rgb else 0
    expected = [1.0 if channel == red else 0.0 for channel in range(3)]
    assert inputs[0, :, 0, 0].tolist() == expected
    assert shown[0, 0].argmax() == red


def test_one_grey_channel(tool, tmp_path):
    changes = {
        'model.input_shape': (1, 8, 8),
        'model.backbone.in_channels': 1,
        'model.aux_head': dict(_delete_=True, type='DGLAuxHead'),
        'data_preprocessor': dict(mean=[78.0], std=[96.0], to_rgb=False, num_classes=10),
    }
    cfg = digits_config(tmp_path / 'grey.py', **changes)
    Image.new('L', (8, 8), 174).save(tmp_path / 'grey.png')
    shown, inputs = tool[1](cfg, local_model(cfg), str(tmp_path / 'grey.png'))
    assert inputs.shape == (1, 1, 8, 8) and inputs.unique().tolist() == [1.0]
    assert shown.shape == (8, 8)


@pytest.mark.parametrize(
    ('args', 'size'),
    [
        ([], (800, 700)),
        (['--blocks', 1, '--channels', 0, 3], (800, 380)),
        (['--blocks', 3], (320, 220)),
    ],
)
def test_pictures(saved, tmp_path, args, size):
    folder = saved[0]
    files = [folder / name for name in ('small.py', 'small.pth', 'digit.png')]
    result = call_tool(TOOL, *files, *args, '--out', tmp_path / 'a.png', '--device', 'cpu')
    assert result.code == 0, result.errors
    assert picture_size(tmp_path / 'a.png') == size


@pytest.mark.parametrize(
    ('files', 'args', 'named'),
    [
        (['small.pth', 'absent.png'], [], ['absent.png', 'does not exist']),
        (['small.pth', 'small.py'], [], ['small.py', 'cannot be read']),
        (['small.pth', 'digit.png'], ['--blocks', '4'], ['block 4', '0 to 3']),
        (['small.pth', 'digit.png'], ['--channels', '16'], ['--channels 16', '0 to 15']),
        (['plain.pth', 'digit.png'], [], ['plain.pth', 'lacks', 'aux_heads']),
    ],
)
def test_bad_input_ends_in_one_error(saved, tmp_path, files, args, named):
    folder, model, _ = saved
    plain = {key: value for key, value in model.state_dict().items() if 'aux_heads' not in key}
    torch.save(plain, folder / 'plain.pth')
    files = [folder / name for name in ('small.py', *files)]
    assert_one_error(call_tool(TOOL, *files, *args, '--out', tmp_path / 'a.png'), *named)
    assert not (tmp_path / 'a.png').exists()
