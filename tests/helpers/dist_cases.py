"""Distributed training of small models, and the same in one process, written out."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from torch import nn

from mman.engine.hooks import MomentumUpdateHook
from mman.engine.wrappers import LocalDistributedDataParallel
from mman.models import MomentumAuxHead
from mman.registry import register_all_modules
from mman.utils.live_bytes import LiveBytes
from tests.helpers.settings import build_model, random_batch, start_heads
from tests.helpers.stand_in_runner import SGD, make_runner, step

ITERATIONS = 3
SHARD = 8

# Methods, backbones and what is special, each with each other kind once.
# name -> (method, what is special)
CASES = {
    'plain': ('man', dict()),
    'accumulation': ('man', dict(accumulative_counts=2, clip_grad=dict(max_norm=0.1))),
    'flat-groups': (
        'manpp-two-units',
        dict(backbone='vit', reducer='flat', blocks_per_reduction=3),
    ),
    'flat-accumulation': (
        'manpp-dgl',
        dict(reducer='flat', accumulative_counts=2, clip_grad=dict(max_norm=0.1)),
    ),
    'flat': ('infopro', dict(reducer='flat', precision=torch.float32)),
    'contrast': ('infopro-contrast', dict(backbone='vit', precision=torch.float32)),
    'one-block': ('man-greedy', dict(num_blocks=1)),
    'frozen': ('man-predsim', dict(frozen=True)),
    'pre-step': ('man-auglocal', dict(backbone='vit', timing='pre_step')),
    'recompute': ('manpp', dict(recompute='all')),
    'bfloat16': ('dgl-manpp', dict(type='BlockAmpOptimWrapper', dtype='bfloat16')),
    'imagenet': ('infopro-imagenet', dict()),
    'predsim': ('predsim', dict(backbone='vit')),
    'resting': ('greedy', dict(train_blocks=(1, 2))),
    'flat-resting': ('man-greedy', dict(reducer='flat', train_blocks=(1, 3))),
    'turns': ('man-greedy', dict(turns=True)),
    'flat-turns': ('greedy', dict(turns=True, reducer='flat')),
}
#: Those of the fast tests.
FEW = ['accumulation', 'flat-groups', 'resting']
REST = [case for case in CASES if case not in FEW]


def dtype_of(case: str) -> torch.dtype:
    """That of a case's weights and pictures."""
    return CASES[case][1].get('precision', torch.float64)


def build(case: str, dtype: torch.dtype) -> nn.Module:
    """The model of a case; every call gives the same weights."""
    method, special = CASES[case]
    splitter = dict(num_blocks=special['num_blocks']) if 'num_blocks' in special else {}
    backbone = special.get('backbone', 'cifar_resnet20')
    recompute = special.get('recompute', 'none')
    model = build_model(method, backbone, recompute=recompute, **splitter).to(dtype)
    model.data_preprocessor.forward = lambda data, training=False: data
    if special.get('frozen'):
        for name, p in model.backbone.named_parameters():
            p.requires_grad_('conv1' not in name)
    if 'train_blocks' in special:
        model.trained_blocks = model.active_blocks = special['train_blocks']
        for part in model.resting_parts():
            part.requires_grad_(False)
        model.train()
    return model


def shard(iteration: int, rank: int, world: int, dtype: torch.dtype) -> dict:
    """One rank's part of the batch of one iteration, normalised."""
    data = random_batch(SHARD * world, seed=iteration)
    part = slice(rank * SHARD, (rank + 1) * SHARD)
    inputs = (data['inputs'][part].to(dtype) - 125) / 64
    return dict(inputs=inputs, data_samples=data['data_samples'][part])


def _hooks(case: str, model: nn.Module) -> list:
    timing = CASES[case][1].get('timing', 'post_step')
    has = any(isinstance(head, MomentumAuxHead) for head in model.aux_heads)
    return [MomentumUpdateHook(timing=timing)] if has else []


def _wrapper_keys(case: str) -> dict:
    keys = ('accumulative_counts', 'clip_grad', 'type', 'dtype')
    return {key: value for key, value in CASES[case][1].items() if key in keys}


def _watch(runner, names: dict[int, str]) -> dict[str, torch.Tensor]:
    """Gradients by name, as the optimizers are given them."""
    seen: dict[str, torch.Tensor] = {}

    def keep(optimizer, *_):
        for group in optimizer.param_groups:
            for p in group['params']:
                if p.grad is not None:
                    seen[names[id(p)]] = p.grad.clone()

    for wrapper in runner.optim_wrapper.values():
        wrapper.optimizer.register_step_pre_hook(keep)
    return seen


def train_rank(case: str, rank: int, world: int) -> list[dict]:
    """What one rank has after every iteration: gradients, and parameters with EMA."""
    special, dtype = CASES[case][1], dtype_of(case)
    model = build(case, dtype)
    if rank:
        # Ranks that do not start alike must be made alike.
        with torch.no_grad():
            next(model.backbone.parameters()).add_(1)
    keys = {key: special[key] for key in ('reducer', 'blocks_per_reduction') if key in special}
    wrapped = LocalDistributedDataParallel(model, **keys)
    runner = make_runner(wrapped, _hooks(case, model), max_iters=ITERATIONS, **_wrapper_keys(case))
    seen = _watch(runner, {id(p): n for n, p in model.named_parameters()})
    history = []
    for i in range(ITERATIONS):
        if special.get('turns'):
            model.activate([i % model.num_blocks])
        step(runner, shard(i, rank, world, dtype))
        state = {name: p.detach().clone() for name, p in model.named_parameters()}
        history.append(dict(gradients=dict(seen), parameters=state))
        seen.clear()
    return history


def train_one_process(case: str, world: int) -> list[dict]:
    """The same in one process: every shard through its own copy, gradients averaged.

    Uses none of the code under test but the blocks' forward passes.
    """
    special, dtype = CASES[case][1], dtype_of(case)
    counts = special.get('accumulative_counts', 1)
    copies = [build(case, dtype) for _ in range(world)]
    for model in copies:
        start_heads(model)
    keys = {key: value for key, value in SGD.items() if key != 'type'}
    trained = [[p for p in model.parameters() if p.requires_grad] for model in copies]
    optimizers = [torch.optim.SGD(params, **keys) for params in trained]
    names = {id(p): n for n, p in copies[0].named_parameters()}
    history = []
    for i in range(ITERATIONS):
        steps_now = (i + 1) % counts == 0 or i + 1 == ITERATIONS
        # The last iterations that fill no whole accumulation weigh by their own number.
        whole = ITERATIONS // counts * counts
        factor = counts if i < whole else ITERATIONS - whole
        turn = i % copies[0].num_blocks
        active = (turn,) if special.get('turns') else copies[0].trained_blocks
        for rank, model in enumerate(copies):
            data = shard(i, rank, world, dtype)
            batch = model.local_batch(data['inputs'], data['data_samples'])
            x = data['inputs']
            for block in model.local_blocks[: max(active) + 1]:
                if block.index not in active:
                    x = nn.Sequential(*block.layers).eval()(x).detach()
                    continue
                block.train()
                with torch.autocast('cpu', torch.bfloat16, enabled='dtype' in special):
                    x, losses = block(x, batch)
                (BaseModel.parse_losses(model, losses)[0] / factor).backward()
        gradients = {}
        if steps_now:
            for group in zip(*trained, strict=True):
                if group[0].grad is None:
                    continue
                mean = sum(p.grad for p in group) / world
                for p in group:
                    p.grad = mean.clone()
            if 'clip_grad' in special:
                for model in copies:
                    for block in model.local_blocks:
                        nn.utils.clip_grad_norm_(block.parameters(), **special['clip_grad'])
            gradients = {names[id(p)]: p.grad.clone() for p in trained[0] if p.grad is not None}
            for model, optimizer in zip(copies, optimizers, strict=True):
                before = {n: p.detach().clone() for n, p in model.backbone.named_parameters()}
                optimizer.step()
                optimizer.zero_grad()
                _average(model, active, before if special.get('timing') == 'pre_step' else None)
        state = {name: p.detach().clone() for name, p in copies[0].named_parameters()}
        history.append(dict(gradients=gradients, parameters=state))
    return history


@torch.no_grad()
def _average(
    model: nn.Module, active: tuple[int, ...], before: dict[str, torch.Tensor] | None
) -> None:
    """EMA of the momentum units whose source stepped, from the parameters now or before it."""
    for k, head in enumerate(model.aux_heads):
        follows = isinstance(head, MomentumAuxHead) and k in model.trained_blocks
        if not follows or k + 1 not in active:
            continue
        (path,) = model.block_units[k + 1][0].parts
        source = dict(model.backbone.get_submodule(path).named_parameters())
        for name, p in head.momentum_unit.named_parameters():
            new = source[name] if before is None else before[f'{path}.{name}']
            p.mul_(0.995).add_(new * (1 - 0.995))


def peak_bytes(rank: int, world: int, wrap: bool) -> tuple[int, int]:
    """Peak live bytes of the third iteration, and the bytes of all gradients."""
    model = build('plain', torch.float32)
    trained = LocalDistributedDataParallel(model) if wrap else model
    runner = make_runner(trained, _hooks('plain', model))
    for i in range(2):
        step(runner, shard(i, rank, world, torch.float32))
    data = shard(2, rank, world, torch.float32)
    existing = [*model.state_dict().values(), data['inputs']]
    for wrapper in runner.optim_wrapper.values():
        for state in wrapper.optimizer.state.values():
            existing += [value for value in state.values() if isinstance(value, torch.Tensor)]
    with LiveBytes(existing) as live:
        step(runner, data)
    gradients = sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
    return live.peak, gradients


def buffers_after_sync(rank: int, world: int) -> tuple[dict, dict]:
    """Buffers of one rank after training, before and after they are averaged."""
    model = build('plain', torch.float64)
    wrapped = LocalDistributedDataParallel(model)
    runner = make_runner(wrapped, _hooks('plain', model))
    step(runner, shard(0, rank, world, torch.float64))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    wrapped.sync_buffers()
    return before, dict(model.named_buffers())


def without_sync(rank: int, world: int, reducer: str) -> tuple[dict, dict]:
    """Gradients of a step inside ``no_sync`` and of one after it."""
    model = build('plain', torch.float64)
    wrapped = LocalDistributedDataParallel(model, reducer=reducer)
    runner = make_runner(wrapped, _hooks('plain', model), optimizer=dict(type='SGD', lr=0.0))
    seen = _watch(runner, {id(p): n for n, p in model.named_parameters()})
    data = shard(0, rank, world, torch.float64)
    with wrapped.no_sync():
        step(runner, data)
    inside = dict(seen)
    step(runner, data)
    return inside, dict(seen)


def main(rank: int, world: int, cases: list[str], folder: str) -> None:
    """What every process of a test does: some cases, results to a file."""
    torch.set_num_threads(1)
    register_all_modules()
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=120),
    )
    results = {'cases': {case: train_rank(case, rank, world) for case in cases}}
    results['bytes'] = [peak_bytes(rank, world, wrap) for wrap in (True, False)]
    results['buffers'] = buffers_after_sync(rank, world)
    results['no_sync'] = {kind: without_sync(rank, world, kind) for kind in ('ddp', 'flat')}
    torch.save(results, os.path.join(folder, f'rank{rank}.pt'))
    dist.destroy_process_group()
