from collections.abc import Callable, Sequence
from functools import cached_property

import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapperDict
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mman.models.aux_heads import MomentumAuxHead
from mman.models.classifiers import LocalBlock
from mman.registry import MODEL_WRAPPERS
from mman.utils import UserError, integer_from

from ..pipeline.gather import share_blocks
from ..pipeline.link import Downstream, Upstream
from ..pipeline.mesh import PipelineMesh
from ..pipeline.momentum import average_into, averaging_head
from ..pipeline.partition import balanced_cuts, checked_cuts, spans
from ..pipeline.stage import Stage
from ..pipeline.survey import BlockSurvey, check_blocks, edges_with_images, survey_blocks
from .flat_reduction import FlatReduction, average_over_ranks
from .local_wrapper import LocalWrapper


@MODEL_WRAPPERS.register_module()
class LocalPipelineParallel(LocalWrapper):
    """Training of local blocks in stages, each in processes of its own.

    Stage i trains its blocks on batch t while stage i + 1 trains on what stage
    i made of batch t - 1. Features go one way, and no gradient goes back, so no
    stage waits for a backward pass. It is exact: after every iteration all is
    equal, bit by bit, to one process, or with D replicas of every stage to D
    processes of :class:`LocalDistributedDataParallel`.

    :class:`mman.engine.hooks.PipelineHook` prepares it, and brings together what
    the stages have for validation and for checkpoints, which are those of one
    process. In between a process has current weights of its own blocks alone.

    Args:
        module (nn.Module): A LocalImageClassifier on its device.
        stages (int): S, from 1; it divides the number of processes, and is at
            most the number of blocks. The rest of the processes are replicas
            that share the batches.
        cuts (Sequence[int] | None): The first blocks of all stages but the first.
            Defaults to None: the largest stage has as little arithmetic as can be.
        depth (int): Batches that may wait before a stage. Defaults to 2.
        reducer (str): How replicas average gradients, 'ddp' or 'flat', as in
            LocalDistributedDataParallel. Defaults to 'ddp'.

    Attributes:
        stage (Stage | None): What this process does; None before training.
        block_spans (list[range]): The blocks of every stage.

    Raises:
        UserError: If an argument is out of range; and when training starts, if
            the blocks cannot be trained so.
    """

    def __init__(
        self,
        module: nn.Module,
        stages: int,
        cuts: Sequence[int] | None = None,
        depth: int = 2,
        reducer: str = 'ddp',
    ):
        super().__init__(module, reducer)
        integer_from(1, 'model_wrapper_cfg.stages', stages)
        integer_from(1, 'model_wrapper_cfg.depth', depth)
        if stages > module.num_blocks:
            raise UserError(
                f'model_wrapper_cfg.stages={stages} is more than the {module.num_blocks} blocks '
                'that there are to train'
            )
        if len(module.trained_blocks) < module.num_blocks:
            raise UserError(
                f'model.train_blocks={list(module.trained_blocks)} cannot be trained in a '
                'pipeline, whose stages all train: leave it out, or drop model_wrapper_cfg'
            )
        self.stages = stages
        self.cuts = None if cuts is None else checked_cuts(cuts, stages, module.num_blocks)
        self.depth = depth
        self.stage: Stage | None = None
        self.block_spans: list[range] = []
        self._shared = True

    @cached_property
    def mesh(self) -> PipelineMesh:
        """Who is where. Made when training first asks: a test takes any number of processes."""
        return PipelineMesh(self.stages)

    def prepare(self, optim_wrapper: OptimWrapperDict, capacity: int) -> None:
        """Lay the blocks on the stages; all ranks call it, when the weights are there.

        ``capacity`` is the most images of a batch, if known, else 0.

        Raises:
            UserError: If the blocks cannot be trained in a pipeline.
        """
        surveys = survey_blocks(self.module)
        check_blocks(surveys)
        blocks, mesh = self.module.local_blocks, self.mesh
        self.block_spans = spans(self._common_cuts(surveys), len(blocks))
        own = self.block_spans[mesh.stage]
        for p in self.module.parameters():
            # Processes that do not start alike are made alike.
            dist.broadcast(p.data, src=0)
        for module in self.module.modules():
            if isinstance(module, nn.SyncBatchNorm):
                module.process_group = mesh.data_group
        device = next(self.module.parameters()).device
        upstream = downstream = None
        if not mesh.is_first:
            head = averaging_head(self.module, own.start - 1)
            source = blocks[own.start].first_unit
            averaged = None if head is None else list(source.parameters())
            upstream = Upstream(mesh, device, self.depth, len(blocks), averaged)
        if not mesh.is_last:
            head = averaging_head(self.module, own.stop - 1)
            average = None if head is None else list(head.momentum_unit.parameters())
            downstream = Downstream(mesh, device, self.depth, capacity, average)
        views = blocks[own.start : own.stop]
        update = None
        if self.reducer == 'flat' and mesh.replicas > 1:
            update = FlatReduction(len(views), 1, mesh.data_group)
        self.stage = Stage(
            self.module,
            mesh,
            own,
            self._trained(views),
            update,
            optim_wrapper,
            upstream,
            downstream,
            edges_with_images(surveys)[own.stop - 1],
        )

    @property
    def own_blocks(self) -> tuple[LocalBlock, ...]:
        """The blocks that this process trains."""
        return self.stage.views

    def share_momentum(
        self,
        pairs: Sequence[tuple[MomentumAuxHead, LocalBlock]],
        decay: Callable[[], float],
        timing: str,
    ) -> list[tuple[MomentumAuxHead, LocalBlock]]:
        """Take over the averages whose two ends are in two processes.

        Of the heads, each with the block that it averages, those come back that this
        process has both ends of. ``decay`` gives m of the current iteration, ``timing`` is
        as in MomentumUpdateHook.
        """
        self._check_prepared()
        own, stage = self.block_spans[self.mesh.stage], self.stage
        for head, block in pairs:
            if block.index == own.stop:
                stage.average, stage.decay = average_into(head), decay
            elif block.index == own.start:
                stage.watch_steps(timing)
        return [pair for pair in pairs if own.start < pair[1].index < own.stop]

    def train_step(
        self, data: dict | tuple | list | None, optim_wrapper: OptimWrapperDict
    ) -> dict[str, torch.Tensor]:
        """One iteration of this stage; see LocalImageClassifier.

        Stages but the first are given no batch.

        Raises:
            UserError: If no hook has prepared it.
        """
        self._check_prepared()
        self._shared = False
        return self.stage.step(data)

    @property
    def stopping(self) -> bool:
        """Whether all processes stop after this iteration."""
        return self.stage.stopping

    def ask_to_stop(self) -> None:
        """Let all processes stop after one iteration soon, the same for all."""
        self.stage.stop_asked = True

    def share(self) -> None:
        """Empty the pipeline and give all blocks to all stages; all ranks call it."""
        if not self._shared:
            self.stage.drain()
            owned = [self.module.local_blocks[span.start : span.stop] for span in self.block_spans]
            share_blocks(self.mesh, owned)
        self._shared = True

    @torch.no_grad()
    def sync_buffers(self) -> None:
        """Average the floating buffers of this stage over its replicas, as with one stage."""
        if self.stage is not None and self.mesh.replicas > 1:
            average_over_ranks(
                (b for v in self.own_blocks for b in v.buffers() if b.is_floating_point()),
                self.mesh.data_group,
            )

    def _check_prepared(self) -> None:
        if self.stage is None:
            raise UserError(
                "default_hooks.pipeline should be dict(type='PipelineHook'): it prepares "
                'LocalPipelineParallel'
            )

    def _common_cuts(self, surveys: Sequence[BlockSurvey]) -> list[int]:
        """The cuts of rank 0, should processes differ in what they count."""
        cuts = self.cuts
        if cuts is None:
            cuts = balanced_cuts([survey.flops for survey in surveys], self.stages)
        found = [cuts]
        dist.broadcast_object_list(found, src=0)
        return found[0]

    def _trained(self, views: Sequence[LocalBlock]) -> Sequence[nn.Module]:
        """What trains the blocks of this stage."""
        if self.reducer == 'flat' or self.mesh.replicas == 1:
            return views
        group = self.mesh.data_group
        # As in LocalDistributedDataParallel.
        return [
            DistributedDataParallel(view, broadcast_buffers=False, process_group=group)
            for view in views
        ]
