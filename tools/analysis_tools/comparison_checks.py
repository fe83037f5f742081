"""What a comparison needs of a config."""

from collections.abc import Mapping

from mmengine.config import Config

from mman.utils.errors import UserError

NEEDED = ('optim_wrapper', 'train_cfg', 'test_cfg', 'test_dataloader', 'test_evaluator')
SMALLEST_BATCH = 2  # BatchNorm needs more than one value per channel.


def check_config(cfg: Config) -> None:
    """Refuse a config that cannot be trained in rows and tested.

    Raises:
        UserError: If a part is missing, the batch is too small, top-1 accuracy
            is not measured, or a memory budget would choose K.
    """
    for key in NEEDED:
        if cfg.get(key) is None:
            raise UserError(f'{key} is {cfg.get(key)!r} in the config; every run needs it')
    size = (cfg.get('train_dataloader') or {}).get('batch_size')
    if not isinstance(size, int) or size < SMALLEST_BATCH:
        raise UserError(
            f'train_dataloader.batch_size={size!r} should be an integer from {SMALLEST_BATCH} on'
        )
    evaluators = cfg.test_evaluator
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else list(evaluators)
    if not any(_measures_top1(evaluator) for evaluator in evaluators):
        raise UserError(
            f'test_evaluator={evaluators!r} should have an Accuracy with 1 in topk, and no thrs'
        )
    if cfg.get('memory_budget') is not None:
        raise UserError(
            f'memory_budget={cfg.memory_budget!r} would choose K in every row; leave it out'
        )


def _measures_top1(evaluator: Mapping) -> bool:
    topk = evaluator.get('topk', 1)
    topk = [topk] if isinstance(topk, int) else topk
    kind = str(evaluator.get('type')).split('.')[-1]
    return kind == 'Accuracy' and 1 in topk and not evaluator.get('thrs')
