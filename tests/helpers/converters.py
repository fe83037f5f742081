"""Judging the converters."""

import torch
from mmengine.config import Config
from mmpretrain.models import build_classifier

from mman.apis import get_model
from tests.helpers.trained_digits import PATH


def succeeded(result):
    """What a tool printed that came to its end."""
    assert not result.returncode, result.stderr
    return result.stdout


def plain_digits(weights):
    """mmpretrain's own classifier of the digits config, with those weights but aux heads."""
    cfg = Config.fromfile(PATH)
    parts = {key: cfg.model[key] for key in ('backbone', 'neck', 'head')}
    plain = build_classifier(dict(type='ImageClassifier', **parts))
    plain.load_state_dict({k: v for k, v in weights.items() if not k.startswith('aux_heads.')})
    return plain.eval()


@torch.no_grad()
def plain_scores(model, images):
    return model(images)


def assert_close(scores, expected, tolerance=1e-4):
    scores, expected = torch.as_tensor(scores), torch.as_tensor(expected)
    assert scores.shape == expected.shape
    scale = max(expected.abs().max().item(), 1)
    assert (scores - expected).abs().max().item() <= tolerance * scale
    assert torch.equal(scores.argmax(1), expected.argmax(1))


# Small images; the networks themselves are those of the configs.
RESNET = {
    'model.input_shape': (3, 64, 64),
    'model.head.num_classes': 7,
    'data_preprocessor.num_classes': 7,
}
VIT = {'model.backbone.img_size': 64, 'model.backbone.patch_size': 8, **RESNET}


def config_of(name, options):
    """A config of this repository, changed."""
    cfg = Config.fromfile(f'configs/{name}.py')
    cfg.merge_from_dict(options)
    return cfg


def drawn_model(cfg, tmp_path):
    """A checkpoint of a config with drawn weights and statistics, and its model."""
    torch.manual_seed(0)
    model = get_model(cfg)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor += 0.2 * torch.rand_like(tensor)
            elif tensor.dtype == torch.float32:
                tensor += 0.02 * torch.randn_like(tensor)
    path = tmp_path / 'drawn.pth'
    torch.save(dict(meta={}, state_dict=model.state_dict()), path)
    return str(path), model.eval()
