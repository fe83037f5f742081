"""Short trainings through the real Runner, in one process and in a pipeline of several."""

import json
import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import multiprocessing
from torch.utils.data import Dataset

from mman.engine.fault_tolerance import set_fault_tolerance
from mman.registry import DATASETS, register_all_modules
from mman.utils.checkpoint import load_from_local
from tests.helpers.interruption import differences, state_of
from tests.helpers.settings import METHODS, image_size, model_cfg, random_batch

PIPELINE = 'mman.engine.wrappers.LocalPipelineParallel'
PER_BLOCK = 'mman.engine.wrappers.LocalDistributedDataParallel'
BATCH = 4
# Two batches of 4 and one of 3.
IMAGES = 11
BLOCKS = 4
SIZES = {'cifar_resnet20': 8}


@DATASETS.register_module()
class FewImages(Dataset):
    """Random images of whole pixels, that are the same whenever they are asked for."""

    metainfo = dict(classes=[str(label) for label in range(10)])

    def __init__(self, size, count=IMAGES):
        self.batch = random_batch(count, size)

    def __len__(self):
        return len(self.batch['inputs'])

    def __getitem__(self, index):
        sample = DataSample().set_gt_label(self.batch['data_samples'][index].gt_label)
        return dict(inputs=self.batch['inputs'][index].byte(), data_samples=sample)


def config(
    method: str,
    work_dir: Path,
    backbone: str = 'cifar_resnet20',
    num_blocks: int = BLOCKS,
    iterations: int = 50,
    timing: str | None = 'post_step',
    # Another in every iteration.
    decay: dict = dict(decay=0.5, end_decay=0.99, schedule='linear'),  # noqa: B006
    wrapper: dict | None = None,
    val: bool = False,
    batch_size: int = BATCH,
    loop: dict | None = None,
    checkpoint: dict = dict(by_epoch=False, interval=-1, save_last=True),  # noqa: B006
    model: dict = {},  # noqa: B006
    **optim_wrapper,
) -> Config:
    """A training of a small model; ``wrapper`` is ``model_wrapper_cfg`` of several processes."""
    size = SIZES.get(backbone) or image_size(backbone)
    network = model_cfg(method, backbone, size, num_blocks=num_blocks, strategy='uniform')
    loader = dict(
        dataset=dict(type='FewImages', size=size),
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_size=batch_size,
        collate_fn=dict(type='default_collate'),
        num_workers=0,
    )
    kind = optim_wrapper.pop('type', 'BlockOptimWrapper')
    optimizer = optim_wrapper.pop('optimizer', dict(type='SGD', lr=0.05, momentum=0.9))
    hooks = []
    if timing is not None and 'Momentum' in str(network['aux_head']) and num_blocks > 1:
        hooks.append(dict(type='MomentumUpdateHook', timing=timing, **decay))
    cfg = dict(
        model=network,
        train_dataloader=loader,
        train_cfg=loop or dict(by_epoch=False, max_iters=iterations, val_interval=10**6),
        optim_wrapper=dict(
            type=kind,
            constructor='BlockOptimWrapperConstructor',
            optimizer=optimizer,
            **optim_wrapper,
        ),
        param_scheduler=dict(type='CosineAnnealingLR', by_epoch=False, T_max=iterations),
        custom_hooks=hooks,
        default_scope='mman',
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=10),
            checkpoint=dict(type='CheckpointHook', **checkpoint),
            block_log=dict(type='BlockLogHook', interval=1, visualize=False),
            buffer_sync=dict(type='BlockBufferSyncHook'),
            pipeline=dict(type='PipelineHook'),
        ),
        log_level='ERROR',
        visualizer=dict(type='UniversalVisualizer', vis_backends=[]),
        randomness=dict(seed=3),
        work_dir=str(work_dir),
        experiment_name=work_dir.name,
    )
    if val:
        cfg |= dict(
            val_dataloader=loader | dict(sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(),
            val_evaluator=dict(type='Accuracy'),
        )
    if wrapper is not None:
        cfg |= dict(launcher='pytorch', model_wrapper_cfg=wrapper)
    cfg = Config(cfg)
    cfg.merge_from_dict(dict(model=model))
    set_fault_tolerance(cfg)
    return cfg


def train(cfg: Config) -> Runner:
    """Train what a config says."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


# Every method; those with an average, whose timing is 'post_step', with the other one too.
BEFORE = {
    f'{method}-pre-step': (method, dict(timing='pre_step'))
    for method, head in METHODS.items()
    if head['type'] == 'MomentumAuxHead'
}
# What differs from one row of METHODS: name -> (method, what is special).
SPECIAL = {
    'accumulation': (
        'man-greedy',
        dict(
            accumulative_counts=3,
            clip_grad=dict(max_norm=0.5),
            optimizer=dict(type='AdamW', lr=0.01),
        ),
    ),
    'pre-step-accumulation': (
        'manpp-dgl',
        dict(timing='pre_step', accumulative_counts=3, blocks={1: dict(accumulative_counts=2)}),
    ),
    'frozen': ('man-predsim', dict(model=dict(backbone=dict(frozen_stages=1)))),
    'bfloat16': ('man-dgl', dict(type='BlockAmpOptimWrapper', dtype='bfloat16')),
    'mixup': (
        # Its heads ask for images, which are no whole pixels then.
        'man',
        dict(
            model=dict(
                data_preprocessor=dict(num_classes=10),
                train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)),
            )
        ),
    ),
    'channels-last': ('man', dict(model=dict(memory_format='channels_last'))),
    'recompute': ('manpp', dict(model=dict(recompute='all'))),
    'tokens': ('manpp-two-units', dict(backbone='vit')),
    'tokens-pre-step': ('manpp-two-units', dict(backbone='vit', timing='pre_step')),
    'views': ('man-greedy', dict(backbone='swin')),
}
CASES = {method: (method, {}) for method in METHODS} | BEFORE | SPECIAL
# They need tokens.
del CASES['manpp-two-units'], CASES['manpp-two-units-pre-step']
# Two ranks of per-block DDP, and two replicas of every stage.
REPLICATED = {
    'ddp': ('man', {}),
    'flat': ('greedy', dict(reducer='flat')),
    'pre-step-accumulation': SPECIAL['pre-step-accumulation'],
}
# No average, one after the step, and one before it.
FEW = ['greedy', 'man', 'man-pre-step', 'pre-step-accumulation']


def run_cases(cases: dict, folder: Path, iterations: int, wrapper: dict | None) -> None:
    """Train cases, each in a folder of its own."""
    for name, (method, special) in cases.items():
        special = dict(special)
        keys = {key: special.pop(key) for key in ['reducer'] if key in special}
        this = None if wrapper is None else {**wrapper, **keys}
        cfg = config(method, folder / name, iterations=iterations, wrapper=this, **special)
        if torch.cuda.is_available():
            # Kernels whose rounding is the same every time.
            cfg.randomness.deterministic = True
        model = train(cfg).model
        if getattr(model, 'stage', None) is not None:
            _write_bytes(model, folder / name)


def _write_bytes(model: torch.nn.Module, folder: Path) -> None:
    """What this process has sent over its two links, for the one that compares."""
    ends = dict(back=model.stage.upstream, on=model.stage.downstream)
    sent = {name: end.bytes_sent() for name, end in ends.items() if end is not None}
    path = folder / f'sent-{model.mesh.stage}-{model.mesh.data_rank}.json'
    path.write_text(json.dumps(sent))


def main(rank: int, world: int, stages: int, cases: dict, iterations: int, folder: str) -> None:
    """What every process of a test does; with 0 stages as per-block DDP, alone without either."""
    torch.set_num_threads(1)
    register_all_modules()
    wrapper = None
    if stages or world > 1:
        os.environ['LOCAL_RANK'] = str(rank)
        if torch.cuda.is_available():
            torch.cuda.set_device(rank)
        dist.init_process_group(
            'nccl' if torch.cuda.is_available() else 'gloo',
            init_method=f'file://{folder}.rendezvous',
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=120),
        )
        wrapper = dict(type=PIPELINE, stages=stages) if stages else dict(type=PER_BLOCK)
    run_cases(cases, Path(folder), iterations, wrapper)
    if wrapper is not None:
        dist.destroy_process_group()


def start(folder: Path, cases: dict, iterations: int, world: int = 1, stages: int = 0):
    """Start the processes of :func:`main`; ``join`` waits for them, and raises what they raise."""
    folder.mkdir(parents=True, exist_ok=True)
    # Imports once; the ranks are its forks.
    multiprocessing.set_forkserver_preload(['tests.helpers.pipeline_cases'])
    return multiprocessing.start_processes(
        main,
        (world, stages, cases, iterations, str(folder)),
        nprocs=world,
        join=False,
        start_method='forkserver',
    )


def finish(*contexts) -> None:
    """Wait for processes that were started."""
    for context in contexts:
        while not context.join():
            pass


def train_all(folder: Path, plan: dict[int, list[str]], iterations: int) -> None:
    """Train cases in one process and in stages, in the folders 1, 2, ... of their numbers.

    Args:
        folder (Path): Where.
        plan (dict[int, list[str]]): Stages -> names of cases.
        iterations (int): Of every case.
    """
    # Each process is started once for all that it trains.
    alone = {name: CASES[name] for names in plan.values() for name in names}
    contexts = [start(folder / '1', alone, iterations)]
    for stages, names in plan.items():
        cases = {name: CASES[name] for name in names}
        contexts.append(start(folder / str(stages), cases, iterations, stages, stages))
    finish(*contexts)


def block_losses(log: Path) -> list[dict]:
    """The records of a file; a pipeline does not tell what makes up a loss."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return [{key: v for key, v in record.items() if key != 'terms'} for record in records]


def outcome(folder: Path) -> dict:
    """The last checkpoint of a training, and all its block losses."""
    (last,) = folder.glob('*.pth')
    (log,) = folder.rglob('block_losses.jsonl')
    return dict(state_of(load_from_local(last)), block_losses=block_losses(log))


def compare(first: Path, second: Path) -> list[str]:
    """Where two trainings differ; they have as many losses as iterations."""
    one, other = outcome(first), outcome(second)
    assert len(one['block_losses']) == one['iter']
    return differences(one, other)
