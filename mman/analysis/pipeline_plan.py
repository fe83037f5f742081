"""What a pipeline of local blocks would bring: its stages, bytes and times, before it is run."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mman.apis.memory_prediction import MemoryReport, predict_memory
from mman.apis.models import build_local_model
from mman.engine.pipeline.momentum import averaging_head
from mman.engine.pipeline.partition import balanced_cuts, spans
from mman.engine.pipeline.pixels import keeps_pixels
from mman.engine.pipeline.survey import (
    BlockSurvey,
    check_blocks,
    edges_with_images,
    survey_blocks,
)
from mman.utils import UserError
from mman.utils.flop_count import multiply_adds

from .memory_plan import train_batch
from .tables import markdown_table, write_csv

# Messages fill multiples of it.
_ALIGNMENT = 64
_LABEL, _HEADER, _CREDIT = 8, 16, 16
# A loss and a gradient norm in float64.
_LOSS = 16


@dataclass(frozen=True)
class Assumptions:
    """What the times are reckoned with."""

    tflops: float = 15.0  #: 10^12 floating-point operations a device does in a second.
    #: Microseconds of the host for an operation; a block takes the longer of arithmetic and host.
    launch_us: float = 10.0
    gbits: float = 100.0  #: 10^9 bits a second between two processes, either way.

    def compute(self, flops: float, operations: int) -> float:
        """Seconds of some blocks."""
        return max(flops / self.tflops / 1e12, operations * self.launch_us / 1e6)

    def transfer(self, nbytes: float) -> float:
        """Seconds of some bytes."""
        return 8 * nbytes / self.gbits / 1e9


@dataclass(frozen=True)
class StagePlan:
    """One stage; bytes, operations and seconds are of an iteration."""

    blocks: range
    flops: int  #: Floating-point operations.
    #: At its peak: all weights, its own optimizers, activations and gradients, waiting messages.
    memory: int
    sent_on: int  #: Bytes to the next stage.
    sent_back: int  #: Bytes to the stage before.
    received: int  #: Bytes from both.
    seconds: float  #: Alone.
    first_seconds: float  #: Of its first block.


@dataclass(frozen=True)
class PipelinePlan:
    """A plan and what else could be done with the same processes and the same total batch."""

    stages: tuple[StagePlan, ...]  #: From the one that reads the data on.
    replicas: int  #: D.
    batch_size: int  #: Images of one replica.
    assumptions: Assumptions  #: Of the times.
    one_process: float  #: Seconds of an iteration of one replica's batch by one process.
    period: float  #: Seconds of an iteration of the pipeline.
    per_block_ddp: float  #: Of per-block DDP.
    bp_ddp: float  #: Of backpropagation under DDP.


def plan_pipeline(
    cfg: Config,
    stages: int,
    replicas: int = 1,
    batch_size: int | None = None,
    assumptions: Assumptions = Assumptions(),  # noqa: B008
) -> PipelinePlan:
    """Plan a pipeline of a config's training, without running it.

    Args:
        cfg (Config): With ``model`` (a LocalImageClassifier) and ``optim_wrapper``.
        stages (int): S, at most the number of blocks.
        replicas (int): D, of every stage. Defaults to 1.
        batch_size (int | None): Images of one replica. Defaults to ``train_dataloader.batch_size``.
        assumptions (Assumptions): Of the times.

    Raises:
        UserError: If the blocks cannot be trained in such a pipeline.
    """
    batch_size = batch_size or train_batch(cfg, ': change it or give a batch size (--batch)')
    model = build_local_model(cfg)
    if not 1 <= stages <= model.num_blocks:
        raise UserError(
            f'--stages {stages} should be from 1 to {model.num_blocks}, the number of blocks'
        )
    surveys = survey_blocks(model)
    check_blocks(surveys)
    layout = spans(balanced_cuts([survey.flops for survey in surveys], stages), len(surveys))
    depth = (cfg.get('model_wrapper_cfg') or {}).get('depth', 2)
    memory = predict_memory(cfg, batch_size)
    trained = [
        sum(p.numel() for p in block.parameters() if p.requires_grad)
        for block in model.local_blocks
    ]
    plans = []
    for span in layout:
        on, back = traffic(model, surveys, span.stop - 1, batch_size)
        before, back_before = traffic(model, surveys, span.start - 1, batch_size)
        plans.append(
            StagePlan(
                span,
                batch_size * sum(surveys[k].flops for k in span),
                _memory(memory, trained, span, (depth + 1) * on + (depth + 1) * before),
                on,
                back_before,
                before + back,
                _seconds(surveys, span, batch_size, assumptions),
                _seconds(surveys, span[:1], batch_size, assumptions),
            )
        )
    whole = range(len(surveys))
    share = batch_size / stages
    gradients = 4 * sum(trained)
    bp, bp_gradients = _backpropagation(cfg)
    return PipelinePlan(
        tuple(plans),
        replicas,
        batch_size,
        assumptions,
        _seconds(surveys, whole, batch_size, assumptions),
        _period(plans, assumptions, _reduced(4 * max(trained), replicas)),
        _seconds(surveys, whole, share, assumptions)
        + assumptions.transfer(_reduced(gradients, stages * replicas)),
        assumptions.compute(share * bp.flops, bp.operations)
        + assumptions.transfer(_reduced(bp_gradients, stages * replicas)),
    )


def traffic(model, surveys: list[BlockSurvey], edge: int, batch_size: int) -> tuple[int, int]:
    """Bytes of an iteration over a cut after block ``edge``: on, and back.

    Features and weights are float32; images that a later head asks for are the pixels of
    a data set of uint8, or float32 after mixup. ``model`` is a LocalImageClassifier with its
    heads; before its first block and after its last there is no cut.
    """
    if not 0 <= edge < len(surveys) - 1:
        return 0, 0
    on = _padded(batch_size * surveys[edge].output_bytes) + _padded(batch_size * _LABEL)
    if edges_with_images(surveys)[edge]:
        size = 1 if keeps_pixels(model.data_preprocessor) else 4
        on += _padded(size * batch_size * math.prod(model.input_shape))
    on += _HEADER + _LOSS * len(surveys)
    back, head = _CREDIT, averaging_head(model, edge)
    if head is not None:
        back += sum(_padded(4 * p.numel()) for p in head.momentum_unit.parameters())
    return on, back


def pipeline_text(plan: PipelinePlan) -> str:
    """The plan as Markdown, with what it assumes and whether it pays."""
    rows = [
        {
            'stage': str(number),
            'blocks': f'{stage.blocks.start} to {stage.blocks.stop - 1}',
            'multiply-adds, G': f'{multiply_adds(stage.flops) / 1e9:.3g}',
            'MiB': f'{stage.memory / 2**20:.1f}',
            'KiB on': f'{stage.sent_on / 1024:.1f}',
            'KiB back': f'{stage.sent_back / 1024:.1f}',
            'KiB received': f'{stage.received / 1024:.1f}',
            'ms': f'{1000 * stage.seconds:.2f}',
        }
        for number, stage in enumerate(plan.stages)
    ]
    ways = {
        f'one process, {plan.batch_size} images': plan.one_process,
        'pipeline': plan.period,
        'per-block DDP': plan.per_block_ddp,
        'backpropagation, DDP': plan.bp_ddp,
    }
    processes = len(plan.stages) * plan.replicas
    times = [
        {
            'way': name,
            'ms an iteration': f'{1000 * seconds:.2f}',
            'of the pipeline': f'{seconds / plan.period:.2f} x',
        }
        for name, seconds in ways.items()
    ]
    given = plan.assumptions
    return '\n'.join(
        [
            markdown_table(rows),
            '',
            markdown_table(times),
            '',
            f'{processes} processes, {plan.replicas} x {plan.batch_size} images an iteration in '
            f'all. Assumed: {given.tflops:g} TFLOP/s, {given.launch_us:g} us of the host for an '
            f'operation (a block takes the longer of both), {given.gbits:g} Gb/s; gradients of '
            'DDP are sent in full after the arithmetic, all but the pixels of images in float32.',
            verdict(plan),
        ]
    )


def verdict(plan: PipelinePlan) -> str:
    """Whether the pipeline pays, in a sentence."""
    best = min(plan.per_block_ddp, plan.bp_ddp)
    if plan.period < best:
        return f'The pipeline pays: {best / plan.period:.2f} x faster than the next best of these.'
    name = 'per-block DDP' if plan.per_block_ddp == best else 'backpropagation under DDP'
    return f'The pipeline does not pay: {name} is {plan.period / best:.2f} x faster.'


def write_pipeline(path: Path, plan: PipelinePlan) -> None:
    """The stages as CSV, bytes and seconds as they are."""
    rows = [
        dict(stage=number, first_block=stage.blocks.start, last_block=stage.blocks.stop - 1)
        | dict(flops=stage.flops, memory_bytes=stage.memory, sent_on=stage.sent_on)
        | dict(sent_back=stage.sent_back, received=stage.received, seconds=stage.seconds)
        for number, stage in enumerate(plan.stages)
    ]
    write_csv(path, rows)


def _seconds(
    surveys: list[BlockSurvey], span: range, images: float, assumptions: Assumptions
) -> float:
    return sum(assumptions.compute(images * surveys[k].flops, surveys[k].operations) for k in span)


def _period(plans: list[StagePlan], assumptions: Assumptions, reduced: float) -> float:
    """The slowest stage, or the way of features and weights around a cut.

    The head of an edge block waits for the weights of the iteration before: in two
    iterations pass a stage, the next one's first block, the features and the weights.
    """
    slowest = max(plan.seconds for plan in plans) + assumptions.transfer(reduced)
    around = [slowest]
    for plan, after in zip(plans, plans[1:], strict=False):
        on, back = assumptions.transfer(plan.sent_on), assumptions.transfer(after.sent_back)
        around += [on, (slowest + after.first_seconds + on + back) / 2]
    return max(around)


def _reduced(nbytes: float, processes: int) -> float:
    """Bytes that a process sends in a ring all-reduce of so many."""
    return 2 * (processes - 1) / processes * nbytes


def _memory(report: MemoryReport, trained: list[int], span: range, waiting: int) -> int:
    """Peak bytes of a stage, which has the weights of all blocks."""
    own = sum(trained[k] for k in span) / max(sum(trained), 1)
    blocks = [report.blocks[k] for k in span]
    at_work = max(block.gradients + block.activations for block in blocks)
    return int(report.parameters + report.buffers + own * report.optimizer + at_work + waiting)


def _backpropagation(cfg: Config) -> tuple[BlockSurvey, int]:
    """The same network in one block, and the bytes of its gradients."""
    cfg = copy.deepcopy(cfg)
    cfg.model.splitter = dict(type='LocalBlockSplitter', num_blocks=1)
    cfg.model.pop('aux_head', None)
    model = build_local_model(cfg)
    (survey,) = survey_blocks(model)
    return survey, 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
