"""What local learning is for: the bytes of one block at a time."""

import pytest
import torch

from mman.engine.hooks import MomentumUpdateHook
from mman.utils.live_bytes import LiveBytes
from tests.helpers.settings import ONE_WRAPPED, build_model, in_tiers, random_batch
from tests.helpers.stand_in_runner import make_runner, step


def _existing(runner, data):
    """Everything that lives between two iterations."""
    yield from runner.model.state_dict().values()
    yield data['inputs']
    for wrapper in runner.optim_wrapper.values():
        for state in wrapper.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def test_live_bytes_counts_storages():
    kept = torch.zeros(100)
    with LiveBytes([kept]) as live:
        a = torch.ones(1000)
        b = a[:10] + 1
        view = a.view(10, 100)
        assert live.now == 400 + 4000 + 40
        del a, b
        assert live.now == 400 + 4000
        del view
        assert live.now == 400
    assert live.peak == 400 + 4000 + 40


@pytest.mark.parametrize('method', in_tiers(ONE_WRAPPED, ('man', 'dgl')))
def test_gradients_of_one_block_live_at_a_time(method):
    model = build_model(method)
    owner = {id(p): block.index for block in model.local_blocks for p in block.parameters()}
    runner = make_runner(model, [MomentumUpdateHook()])
    seen = []

    def watch(optimizer, *_):
        stepping = {id(p) for group in optimizer.param_groups for p in group['params']}
        alive = {id(p) for p in model.parameters() if p.grad is not None}
        assert alive and alive <= stepping
        seen.append({owner[i] for i in alive})

    for wrapper in runner.optim_wrapper.values():
        wrapper.optimizer.register_step_pre_hook(watch)
    step(runner, random_batch())
    assert seen == [{k} for k in range(model.num_blocks)]
    assert all(p.grad is None for p in model.parameters())


def test_nothing_of_a_block_lives_while_the_next_runs():
    """Between blocks, what is new is one feature map and a few scalars."""
    model = build_model('man')
    data = random_batch()
    runner = make_runner(model, [MomentumUpdateHook()])
    step(runner, data)
    existing = list(_existing(runner, data))
    found = []
    with LiveBytes(existing) as live:
        base = live.now
        for k, block in enumerate(model.local_blocks[1:], start=1):
            feature = model.block_units[k - 1][-1].output_shape
            size = 4 * 8 * torch.Size(feature).numel()
            block.register_forward_pre_hook(
                lambda *_, size=size: found.append((live.now - base, size))
            )
        step(runner, data)
    assert len(found) == 3
    # The images, restored once and normalised once, stay for all blocks.
    images = 2 * data['inputs'].untyped_storage().nbytes()
    for extra, size in found:
        assert extra <= size + images + 2048, (extra, size)
