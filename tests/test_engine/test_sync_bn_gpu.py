import pytest
import torch
import torch.distributed as dist
from mmengine.model import convert_sync_batchnorm
from torch import nn

from mman.engine.hooks import MomentumUpdateHook
from mman.engine.wrappers import LocalDistributedDataParallel
from tests.helpers.settings import build_model, random_batch
from tests.helpers.stand_in_runner import make_runner, step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
]


@pytest.fixture
def group(tmp_path):
    """A process group of one, as the Runner makes for a launcher."""
    dist.init_process_group('nccl', init_method=f'file://{tmp_path}/meet', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _losses(sync_bn):
    model = build_model('man').cuda()
    if sync_bn:
        model = convert_sync_batchnorm(model, 'torch')
        assert any(isinstance(m, nn.SyncBatchNorm) for m in model.aux_heads.modules())
    runner = make_runner(LocalDistributedDataParallel(model), [MomentumUpdateHook()])
    losses = []
    for i in range(3):
        step(runner, random_batch(seed=i))
        losses.append(model.block_losses.cpu())
    return torch.stack(losses)


def test_sync_bn_over_one_rank_is_batch_norm(group):
    torch.testing.assert_close(_losses(True), _losses(False), rtol=1e-3, atol=1e-4)
