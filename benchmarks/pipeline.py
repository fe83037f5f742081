"""Time a pipeline of local blocks.

'slept': stages that sleep instead of computing, with real messages between them, so that only the
order of the messages counts: the time of an iteration over that of the slowest stage. The naive
order (features sent when the stage is done, weights awaited at its start) is the control.

'real': a config, and the same with greedy heads, trained in one process of one thread and of as
many as there are ranks, in a pipeline, and by per-block DDP, at the same total batch.
"""

import argparse
import copy
import time
from collections.abc import Callable
from statistics import mean, median

import torch
import torch.distributed as dist
from common import in_processes, write
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from mman import apis
from mman.analysis.tables import markdown_table
from mman.apis.random_batch import RandomBatchTraining
from mman.cli.arguments import at_least, new_file
from mman.engine.pipeline import mesh_of
from mman.engine.pipeline.stage import Stage
from mman.engine.wrappers import (
    LocalDistributedDataParallel,
    LocalPipelineParallel,
    local_pipeline,
)
from mman.models.classifiers import LocalBlock
from mman.utils.errors import one_line_errors

CONFIG = 'configs/man/resnet20_k10_digits.py'
METHODS = ('greedy', 'man')
ALONE, PIPELINE, PER_BLOCK = 'one process', 'pipeline', 'per-block DDP'
# name -> (timing of the average or None for a head without one, whether in the naive order)
SLEPT = {
    'no momentum': (None, False),
    'post_step': ('post_step', False),
    'pre_step': ('pre_step', False),
    'naive order': ('post_step', True),
}
# Of a stage's time: what is slept before the features leave, in the head, and in the update.
PARTS = (0.25, 0.25, 0.5)


class NaiveStage(Stage):
    """Waits for weights when it starts, and sends features when it is done."""

    def step(self, data):
        """As the order that comes to mind first has it."""
        if self.downstream is not None:
            self._take_returns(0)
        return super().step(data)

    def _pass_on(self, features):
        self._kept = features, dict(self._batch)

    def _table(self, losses):
        if self.downstream is not None:
            features, self._batch = self._kept
            super()._pass_on(features)
        self._batch = {}
        return super()._table(losses)


class Pipeline(RandomBatchTraining):
    """A training in this process of a pipeline, or of what else ``wrap`` makes of the model."""

    def __init__(self, cfg: Config, wrap: Callable, batch: int):
        super().__init__(cfg, batch, torch.device('cpu'))
        self.model = wrap(self.model)
        if mesh_of(self.model) is not None:
            self.model.prepare(self.optim_wrapper, batch)
        for hook in cfg.get('custom_hooks') or ():
            self.add_hook(hook)

    def run(self, iterations: int) -> list[float]:
        """Seconds from the end of one iteration to the end of the next."""
        ends = []
        for _ in range(iterations + 1):
            self.step()
            ends.append(time.perf_counter())
        if mesh_of(self.model) is not None:
            self.model.share()
        return [b - a for a, b in zip(ends, ends[1:], strict=False)]


def slept(cfg: Config, name: str, seconds: float, iterations: int, stages: int) -> list[float]:
    """Times of iterations whose stages sleep; one block a stage."""
    timing, naive = SLEPT[name]
    cfg = copy.deepcopy(cfg)
    host = dict(type='LinearAuxHead')
    cfg.model.aux_head = host if timing is None else dict(type='MomentumAuxHead', host=host)
    cfg.custom_hooks = [] if timing is None else [dict(type='MomentumUpdateHook', timing=timing)]
    cfg.model.splitter = dict(type='LocalBlockSplitter', num_blocks=stages, strategy='uniform')
    local_pipeline.Stage = NaiveStage if naive else Stage
    training = Pipeline(cfg, lambda model: LocalPipelineParallel(model, stages), 2)
    for view in training.model.own_blocks:
        sleep_instead(view, training.optim_wrapper[view.name], seconds)
    return training.run(iterations + stages)[stages:]


def sleep_instead(view: LocalBlock, wrapper: OptimWrapper, seconds: float) -> None:
    """Let a block sleep for so long in an iteration, and compute nothing."""
    units, head, update = (part * seconds for part in PARTS)

    def forward(x, batch):
        time.sleep(units)
        if view.on_output is not None:
            view.on_output(x)
        time.sleep(head)
        return x, dict(loss=x.new_zeros(()))

    def update_params(loss):
        time.sleep(update)
        wrapper._inner_count += 1
        # There are no gradients; hooks before the step see it all the same.
        wrapper.optimizer.step()

    view.forward, wrapper.update_params = forward, update_params


def measure(job: dict) -> dict:
    """Times of iterations in this process, and the bytes that each of its links has sent."""
    torch.set_num_threads(job.get('threads', 1))
    cfg, world = apis.load_config(job['config']), dist.get_world_size()
    if job['kind'] == 'slept':
        times = slept(cfg, job['name'], job['seconds'], job['iterations'], world)
        return dict(times=times, sent={})
    if job['method'] == 'greedy':
        cfg.model.aux_head = dict(type='LinearAuxHead')
        cfg.custom_hooks = []
    ways = {
        PIPELINE: lambda model: LocalPipelineParallel(model, world),
        PER_BLOCK: lambda model: LocalDistributedDataParallel(
            model, 'flat', min(4, model.num_blocks)
        ),
    }
    share = world if job['name'] == PER_BLOCK else 1
    wrap = ways.get(job['name'], lambda model: model)
    training = Pipeline(cfg, wrap, job['batch'] // share)
    times = training.run(job['iterations'] + 3)[3:]
    stage = getattr(training.model, 'stage', None)
    links = [link for link in (stage and (stage.upstream, stage.downstream)) or () if link]
    return dict(times=times, sent={type(link).__name__: link.bytes_sent() for link in links})


def run(job: dict, world: int) -> dict:
    """A record of one job: times of rank 0, bytes that each rank has sent."""
    ranks = in_processes(measure, (job,), world)
    sent = [rank['sent'] for rank in ranks]
    return dict(job, ranks=world, times=ranks[0]['times'], sent=sent)


def jobs(args: argparse.Namespace) -> list[tuple[dict, int]]:
    """What is measured, each with its number of processes."""
    found = []
    if 'slept' in args.kinds:
        common = dict(kind='slept', config=CONFIG, seconds=args.seconds)
        found += [
            (dict(common, name=name, iterations=args.iterations), args.stages) for name in SLEPT
        ]
    if 'real' in args.kinds:
        for method in METHODS:
            common = dict(kind='real', config=args.config, method=method)
            common |= dict(batch=args.batch, iterations=args.iterations)
            # name -> ranks, and threads of each; the first is what the others are compared with.
            ways = {
                ALONE: (1, 1),
                f'{ALONE}, {args.ranks} threads': (1, args.ranks),
                PIPELINE: (args.ranks, 1),
                PER_BLOCK: (args.ranks, 1),
            }
            found += [
                (dict(common, name=name, threads=threads), world)
                for name, (world, threads) in ways.items()
            ]
    return found


def table(records: list[dict]) -> str:
    """All records as Markdown: times in milliseconds, and what they are compared with."""
    rows = []
    for record in records:
        took = median(record['times'])
        if record['kind'] == 'slept':
            compared = f'{took / record["seconds"]:.3f} x the slowest stage'
        else:
            same = [r for r in records if r.get('method') == record['method']]
            alone = next(r for r in same if r['name'] == ALONE)
            compared = f'{median(alone["times"]) / took:.2f} x one process'
        what = record.get('method', record['kind'])
        times = [f'{1000 * value:.1f}' for value in (mean(record['times']), took)]
        rows.append([what, record['name'], str(record['ranks']), *times, compared])
    headings = ('what', 'order', 'ranks', 'mean, ms', 'median, ms', 'medians compared')
    return markdown_table([dict(zip(headings, row, strict=True)) for row in rows], left=(0, 1))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    kinds = ('slept', 'real')
    parser.add_argument('--kinds', nargs='+', choices=kinds, default=kinds, help='[slept real]')
    parser.add_argument('config', nargs='?', default=CONFIG, help=f'that is trained [{CONFIG}]')
    parser.add_argument('--stages', type=at_least(2), default=4, help='that sleep [4]')
    parser.add_argument('--seconds', type=float, default=0.2, help='that a stage sleeps [0.2]')
    parser.add_argument('--ranks', type=at_least(2), default=2, help='that train [2]')
    parser.add_argument('--batch', type=at_least(2), default=64, help='images in all [64]')
    parser.add_argument('--iterations', type=at_least(2), default=20, help='timed [20]')
    parser.add_argument('--out', type=new_file('.json'), help='file for all times, in s')
    return parser


def main() -> None:
    """Measure, print the table, and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        records = [run(job, world) for job, world in jobs(args)]
    print(table(records))
    write(args, records)


if __name__ == '__main__':
    main()
