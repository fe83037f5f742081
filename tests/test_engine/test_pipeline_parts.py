"""The parts of a pipeline by themselves: cuts, messages, and what blocks are asked for."""

from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook

from mman.engine.hooks import PipelineHook
from mman.engine.pipeline.link import Downstream
from mman.engine.pipeline.packet import Packet
from mman.engine.pipeline.partition import balanced_cuts, spans
from mman.engine.pipeline.pixels import as_sent, to_send
from mman.engine.pipeline.stage import ReceivedSamples
from mman.engine.pipeline.survey import check_blocks, edges_with_images, survey_blocks
from mman.models import AuxHead
from mman.models.aux_heads import LocalBatch
from mman.registry import MODEL_WRAPPERS, MODELS
from tests.helpers.run_tool import ROOT
from tests.helpers.settings import METHODS, build_model, model_cfg, random_batch


def test_cuts_are_the_best_of_all():
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        count = int(torch.randint(1, 9, (), generator=generator))
        costs = torch.randint(1, 20, (count,), generator=generator).tolist()
        for stages in range(1, count + 1):
            every = [list(cuts) for cuts in combinations(range(1, count), stages - 1)]
            found = balanced_cuts(costs, stages)
            assert found in every
            assert _largest(costs, found) == min(_largest(costs, cuts) for cuts in every)


def _largest(costs, cuts):
    return max(sum(costs[k] for k in span) for span in spans(cuts, len(costs)))


def test_a_message_holds_every_tensor_with_its_strides():
    tensors = dict(
        features=torch.randn(5, 3, 4, 2).to(memory_format=torch.channels_last),
        tokens=torch.randn(5, 7, 2).transpose(1, 2),
        half=torch.randn(5, 3).bfloat16(),
        labels=torch.arange(5),
    )
    packet = Packet.like(tensors, capacity=6)
    found = packet.unpack(packet.pack(tensors, None), rows=5)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
        assert found[name].stride() == tensor.stride()
        assert found[name].data_ptr() % 64 == 0
    # 6 rows of each, filled up to 64 bytes.
    assert packet.nbytes == 576 + 384 + 64 + 64


def test_a_smaller_batch_fills_the_front():
    packet = Packet.like(dict(x=torch.zeros(4, 2)))
    small = dict(x=torch.ones(3, 2))
    message = packet.pack(small, None)
    assert len(message) == packet.nbytes
    assert torch.equal(packet.unpack(message, rows=3)['x'], small['x'])


def test_a_batch_that_fits_no_message_is_refused():
    link = Downstream.__new__(Downstream)
    link._packet = Packet.like(dict(features=torch.zeros(4, 2), labels=torch.arange(4)))
    with pytest.raises(ValueError, match='a batch of 5 images came after one of 4'):
        link.send(dict(features=torch.zeros(5, 2), labels=torch.arange(5)), stop=False)
    scores = dict(features=torch.zeros(4, 2), labels=torch.zeros(4))
    with pytest.raises(ValueError, match='labels of type torch.float32 came after'):
        link.send(scores, stop=False)


def test_weights_of_any_shape():
    weights = {'0': torch.tensor(2.0), '1': torch.randn(3, 2), '2': torch.randn(4)}
    packet = Packet.like(weights)
    for name, found in packet.unpack(packet.pack(weights, None)).items():
        assert torch.equal(found, weights[name])


@pytest.mark.parametrize('target', [torch.tensor([3, 1, 2]), torch.eye(3)])
def test_received_samples_are_those_that_were_sent(target):
    samples = ReceivedSamples(target)
    assert len(list(samples)) == 3
    assert torch.equal(LocalBatch(None, samples).target, target)
    kind = 'gt_score' if target.ndim == 2 else 'gt_label'
    assert all(kind in sample for sample in samples)


def _sent(data, **preprocessor):
    """What a model normalises, what it sends of it, and what arrives."""
    cfg = model_cfg('greedy')
    cfg['data_preprocessor'] = preprocessor
    model = MODELS.build(cfg)
    images, _ = model.first_input(data)
    sent = to_send(model, data, images)
    return images, sent, as_sent(model, sent)


@pytest.mark.parametrize(
    'preprocessor',
    [
        dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
        dict(mean=[0.0, 300.0, 127.5], std=[1e-3, 1.0, 1e4]),
        dict(type='BatchAugmentDataPreprocessor', augments=[dict(type='BatchRandomFlip')]),
    ],
)
def test_every_pixel_travels_as_a_byte_and_arrives_to_the_bit(preprocessor):
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    samples = random_batch(2)['data_samples']
    images, sent, arrived = _sent(dict(inputs=pixels, data_samples=samples), **preprocessor)
    assert sent.dtype == torch.uint8 and arrived.dtype == torch.float32
    assert torch.equal(arrived, images)


def test_what_is_no_pixel_travels_as_it_is():
    batch, plain = random_batch(), dict(mean=[1.0] * 3, std=[3.0] * 3)
    mixed = dict(plain, num_classes=10, batch_augments=dict(augments=dict(type='Mixup', alpha=1.0)))
    pixels = [image.byte() for image in batch['inputs']]
    small = [pixels[0][:, :9], *pixels[1:]]
    for inputs, preprocessor in (
        (batch['inputs'], plain),
        (pixels, mixed),
        (small, plain),
        ([image[:, :12] for image in pixels], dict(plain, pad_size_divisor=16)),
    ):
        images, sent, arrived = _sent(dict(batch, inputs=inputs), **preprocessor)
        assert sent is images and arrived is images


@pytest.mark.parametrize(
    ('method', 'asked'),
    [
        ('man', [True, True, False, False]),
        ('infopro', [True, True, False, False]),
        ('greedy', [False] * 4),
        ('predsim', [False] * 4),
    ],
)
def test_images_go_where_a_later_head_asks(method, asked):
    surveys = survey_blocks(build_model(method))
    check_blocks(surveys)
    assert edges_with_images(surveys) == asked


@pytest.mark.full
@pytest.mark.parametrize('method', METHODS)
def test_no_method_draws_or_reaches(method):
    backbone = 'vit' if method == 'manpp-two-units' else 'cifar_resnet20'
    model = build_model(method, backbone)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check_blocks(survey_blocks(model))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_dropout_in_the_classifier_is_refused():
    cfg = model_cfg('greedy')
    cfg['head'].update(type='StackedLinearClsHead', mid_channels=[16], dropout_rate=0.5)
    with pytest.raises(ValueError, match='block3 draws random numbers'):
        check_blocks(survey_blocks(MODELS.build(cfg)))


@pytest.mark.parametrize('key', ['drop_path_rate', 'drop_rate'])
def test_drop_in_the_backbone_is_refused(key):
    cfg = model_cfg('greedy', 'vit')
    cfg['backbone'][key] = 0.2
    with pytest.raises(ValueError, match='draws random numbers'):
        check_blocks(survey_blocks(MODELS.build(cfg)))


@MODELS.register_module()
class ReachingHead(AuxHead):
    """A head that trains the next unit too."""

    def __init__(self, context):
        super().__init__(context)
        # In a tuple, hence not part of the head.
        self.next = (context.next_units[0].module,)

    def loss(self, features, batch):
        """The mean of what the next unit makes of the features."""
        return dict(loss=self.next[0](features).mean())


def test_a_head_that_trains_another_block_is_refused():
    cfg = model_cfg('greedy')
    cfg['aux_head'] = dict(type='ReachingHead')
    with pytest.raises(ValueError, match='block0 sends gradients to block1'):
        check_blocks(survey_blocks(MODELS.build(cfg)))


def test_the_base_config_is_that_of_the_wrapper():
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'pipeline_runtime.py')
    wrapper = dict(cfg.model_wrapper_cfg)
    kind = MODEL_WRAPPERS.get(wrapper.pop('type'))
    assert kind(build_model('greedy'), **wrapper).stages == 4
    assert cfg.default_hooks.pipeline.type == 'PipelineHook'


@pytest.mark.parametrize(
    ('special', 'message'),
    [
        (dict(hooks=[EMAHook()]), 'custom_hooks has an EMAHook'),
        (dict(auto_scale_lr=dict(enable=True, base_batch_size=8)), 'auto_scale_lr.enable=True'),
        (dict(optim_wrapper=SimpleNamespace(loss_scaler=object())), "dtype='float16'"),
    ],
)
def test_what_needs_all_blocks_at_once_is_refused(special, message):
    plain = dict(hooks=[], auto_scale_lr=None, optim_wrapper=SimpleNamespace(loss_scaler=None))
    runner = SimpleNamespace(model=SimpleNamespace(mesh=object()), **{**plain, **special})
    with pytest.raises(ValueError, match=message):
        PipelineHook().before_train(runner)
