"""A small model, its config and checkpoint, and what an analysis or a tool made of them."""

from pathlib import Path

import torch
from mmengine.config import Config
from PIL import Image

from mman.analysis.inspection import local_model
from tests.helpers.settings import model_cfg, start_heads
from tests.helpers.stand_in_runner import SGD

ROOT = Path(__file__).resolve().parents[2]
DIGITS = 'configs/man/resnet20_k10_digits.py'


def small_config(**changes):
    """A config of the small model of the generic tests, with some keys replaced."""
    wrapper = dict(
        type='BlockOptimWrapper', constructor='BlockOptimWrapperConstructor', optimizer=SGD
    )
    cfg = dict(
        model=model_cfg(),
        optim_wrapper=wrapper,
        train_dataloader=dict(batch_size=32),
        train_cfg=dict(max_epochs=2),
        test_cfg=dict(),
        test_dataloader=dict(batch_size=8),
        test_evaluator=dict(type='Accuracy', topk=(1, 5)),
    )
    return Config(cfg | changes)


def digits_config(path, images=60, **changes):
    """Write the digits config with 4 blocks and few images; returns it."""
    cfg = Config.fromfile(ROOT / DIGITS)
    cfg.model.splitter = dict(type='LocalBlockSplitter', num_blocks=4, strategy='uniform')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.indices = images
        loader.batch_size = 32
    cfg.merge_from_dict(changes)
    cfg.dump(path)
    return Config.fromfile(path)


def in_memory(cfg, *augments):
    """The config with its training set held in memory, and augmentation of whole batches."""
    loader = cfg.train_dataloader
    inner = dict(loader.dataset)
    inner.pop('pipeline')
    loader.dataset = dict(type='InMemoryDataset', dataset=inner)
    loader.collate_fn = dict(type='in_memory_collate')
    kind = dict(type='BatchAugmentDataPreprocessor', augments=list(augments))
    cfg.data_preprocessor = dict(cfg.data_preprocessor, **kind)
    return cfg


def unit_outputs(model, dataset):
    """Outputs of all residual units by their ends, by the backbone's own modules, and labels."""
    samples = [dataset[i] for i in range(len(dataset))]
    images = torch.stack([sample['inputs'] for sample in samples])
    labels = torch.cat([sample['data_samples'].gt_label for sample in samples]).numpy()
    found, handles = {}, []
    for name, module in model.backbone.named_modules():
        if name.startswith('layer') and name.count('.') == 1:
            end = name.removeprefix('layer')
            handles.append(
                module.register_forward_hook(lambda *args, end=end: found.update({end: args[-1]}))
            )
    with torch.no_grad():
        model.extract_feat((images.float() - 78) / 96)
    for handle in handles:
        handle.remove()
    return found, labels


def save_model(cfg, path, seed=0):
    """Save fresh weights with moved running statistics; returns the model in eval mode."""
    torch.manual_seed(seed)
    model = local_model(cfg)
    model.init_weights()
    start_heads(model)
    model.train()
    with torch.no_grad():
        x = torch.randn(16, *model.input_shape)
        for block, head in zip(model.local_blocks, [*model.aux_heads, None], strict=True):
            for layer in block.layers:
                x = layer(x)
            if hasattr(head, 'mixed'):
                head.mixed(x)
    meta = dict(block_ends=list(model.block_ends))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return model.eval()


def picture_size(path):
    """(width, height) of a PNG, read to its end."""
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == 'PNG'
        return picture.size
