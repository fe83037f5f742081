"""Files from others run no code: each has a payload that would create a canary, a file."""

import builtins
import email.message
import hashlib
import io
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.runner import load_checkpoint

from mman.analysis.inspection import local_model
from mman.apis import ImageInferencer, build_runner, get_model, load_config
from mman.apis.models import build_local_model
from mman.datasets import CIFAR10
from mman.datasets.fetching import unpack_folder
from mman.registry import MODELS
from mman.utils import UserError
from mman.utils.safe_loading import restrict_loading
from tests.helpers.run_tool import call_tool, one_error
from tests.helpers.trained_digits import write_pictures

CONFIG = 'configs/man/resnet20_k10_digits.py'


def full(*values):
    return pytest.param(*values, marks=pytest.mark.full)


class Payload:
    """Pickles into a call that creates the canary."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return builtins.open, (self.canary, 'w')


@pytest.fixture
def canary(tmp_path):
    """Where the payload writes; the test fails if it has at its end."""
    path = tmp_path / 'canary'
    yield path
    assert not path.exists(), 'the payload has run'


@pytest.fixture
def checkpoint(tmp_path, canary):
    """Weights as they should be, with a payload, named as publish_model.py names files."""
    model = MODELS.build(load_config(CONFIG).model)
    meta = dict(block_ends=model.block_ends, epoch=1, iter=1, canary=Payload(canary))
    buffer = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=model.state_dict()), buffer)
    digits = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
    path = tmp_path / f'best-{digits}.pth'
    path.write_bytes(buffer.getvalue())
    # The payload is real: mmengine alone runs it.
    load_checkpoint(torch.nn.Linear(1, 1), str(path))
    assert canary.exists()
    canary.unlink()
    return path


@pytest.fixture
def cifar_root(tmp_path, canary):
    """CIFAR-10 whose second batch has a payload beside its images."""
    folder = tmp_path / 'cifar' / 'cifar-10-batches-py'
    folder.mkdir(parents=True)
    for name in (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch'):
        batch = dict(data=np.zeros((4, 3072), np.uint8), labels=[0, 1, 2, 3])
        if name == 'data_batch_2':
            batch['canary'] = Payload(canary)
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    pickle.loads((folder / 'data_batch_2').read_bytes())
    assert canary.exists()
    canary.unlink()
    return folder.parent


TRAIN = ['train.py', CONFIG, '--work-dir', 'OUT']


@pytest.mark.parametrize(
    'command',
    [
        [*TRAIN, '--resume', 'IN'],
        [*TRAIN, '--cfg-options', 'load_from=IN'],
        [*TRAIN, '--cfg-options', 'pretrained.checkpoint=IN'],
        ['test.py', CONFIG, 'IN', '--work-dir', 'OUT'],
        ['model_converters/publish_model.py', 'IN', 'OUT'],
        ['model_converters/export_weights.py', CONFIG, 'IN', 'OUT.pth', '--format', 'timm'],
        ['analysis_tools/linear_probe.py', CONFIG, 'IN', '--out', 'OUT.png'],
        full(['model_converters/export_onnx.py', CONFIG, 'IN', 'OUT.onnx']),
        full(['model_converters/export_torch.py', CONFIG, 'IN', 'OUT.pt', '--how', 'script']),
        full(['model_converters/convert_man_release.py', 'IN', 'OUT.pth']),
        full(['analysis_tools/early_exit.py', CONFIG, 'IN']),
        full(['visualization/feature_maps.py', CONFIG, 'IN', 'PICTURE', '--out', 'OUT.png']),
    ],
    ids=lambda command: command[0],
)
def test_a_tool_refuses_a_checkpoint_with_a_payload(checkpoint, tmp_path, command):
    picture = write_pictures(tmp_path, 1) / '000.png'
    places = dict(IN=checkpoint, OUT=tmp_path / 'out', PICTURE=picture)
    for name, place in places.items():
        command = [re.sub(rf'\b{name}\b', str(place), word) for word in command]
    before = {*tmp_path.rglob('*')}
    assert 'was refused' in one_error(call_tool(*command))
    made = {path.suffix for path in {*tmp_path.rglob('*')} - before}
    assert not made & {'.pth', '.pt', '.onnx', '.png'}


class TestCheckpoint:
    """By what an experiment finds by itself, and from Python."""

    def test_found_by_resume(self, checkpoint, tmp_path):
        """Passed over by name, like a damaged one, and nothing older is there."""
        work_dir = tmp_path / 'work'
        work_dir.mkdir()
        checkpoint.rename(work_dir / 'epoch_1.pth')
        (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))
        result = call_tool('train.py', CONFIG, '--work-dir', work_dir, '--resume')
        assert 'epoch_1.pth' in one_error(result)

    def test_init_cfg(self, checkpoint):
        cfg = load_config(CONFIG)
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint))
        model = get_model(cfg)
        with pytest.raises(UserError, match='was refused'):
            model.init_weights()

    @pytest.mark.parametrize(
        'door', [get_model, *map(full, (build_runner, local_model, build_local_model))]
    )
    def test_mmengine_after_any_door(self, checkpoint, tmp_path, door):
        """In the same process, by mmengine's own function."""
        cfg = load_config(CONFIG)
        cfg.work_dir = str(tmp_path / 'work')
        door(cfg)
        with pytest.raises(UserError, match='was refused'):
            load_checkpoint(torch.nn.Linear(1, 1), str(checkpoint))

    def test_mmengine_after_a_model_of_others(self, checkpoint):
        model = MODELS.build(load_config(CONFIG).model)
        model._config, model._metainfo, model._dataset_meta = load_config(CONFIG), None, {}
        ImageInferencer(model)
        with pytest.raises(UserError, match='was refused'):
            load_checkpoint(torch.nn.Linear(1, 1), str(checkpoint))


class TestYaml:
    @pytest.fixture
    def config(self, tmp_path, canary):
        """A config in YAML with a payload."""
        path = tmp_path / 'evil.yaml'
        path.write_text(f"work_dir: !!python/object/apply:builtins.open ['{canary}', 'w']\n")
        yaml.load(path.read_text(), yaml.UnsafeLoader)
        assert canary.exists()
        canary.unlink()
        return path

    @pytest.mark.parametrize('tool', ['train.py', 'misc/print_config.py'])
    @pytest.mark.parametrize('child', [None, 'child.yml', 'child.py'])
    def test_a_tag_calls_nothing(self, config, tool, child):
        path = config.with_name(child or config.name)
        if child:
            path.write_text(f"_base_{' =' if child.endswith('py') else ':'} '{config.name}'\n")
        line = one_error(call_tool(tool, path))
        assert str(path) in line and 'python/object/apply:builtins.open' in line

    def test_what_mmengine_writes_is_read(self, tmp_path):
        cfg = load_config(CONFIG)
        cfg.pair = (1, (2, [3]))
        cfg.dump(tmp_path / 'config.yaml')
        assert '!!python/tuple' in (tmp_path / 'config.yaml').read_text()
        assert load_config(str(tmp_path / 'config.yaml')).to_dict() == cfg.to_dict()


class TestPublishedModel:
    """Its name has the right digits: the checksum says who wrote it, not what it does."""

    def test_inference(self, checkpoint):
        for load in (get_model, ImageInferencer):
            with pytest.raises(UserError, match='was refused'):
                load(CONFIG, str(checkpoint))

    def test_downloaded(self, checkpoint, tmp_path, monkeypatch):
        serve(monkeypatch, tmp_path, checkpoint.read_bytes())
        with pytest.raises(UserError, match='was refused.*could run code'):
            load_checkpoint(torch.nn.Linear(1, 1), f'https://example.org/{checkpoint.name}')


class TestDataFile:
    def test_train(self, cifar_root, tmp_path):
        keys = [
            f'{loader}.dataset.{key}'
            for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
            for key in (f'data_root={cifar_root}', 'verify=False')
        ]
        config = 'configs/greedy/resnet32_k16_cifar10.py'
        result = call_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', *keys)
        line = one_error(result)
        assert 'data_batch_2 cannot be read' in line and 'open is not plain array data' in line

    def test_in_an_archive(self, cifar_root):
        folder = cifar_root / CIFAR10.base_folder
        with tarfile.open(cifar_root / CIFAR10.filename, 'w:gz') as tar:
            tar.add(folder, folder.name)
        folder.rename(cifar_root / 'away')
        with pytest.raises(RuntimeError, match='data_batch_2 cannot be read'):
            CIFAR10(str(cifar_root), verify=False, download=False)


def member(name, kind=tarfile.REGTYPE, link='', content=b'evil'):
    """An entry of a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, io.BytesIO(content)


class TestArchive:
    @pytest.mark.parametrize(
        'members',
        [
            [member('../outside')],
            [member('data/../../outside')],
            [member('data/link', tarfile.SYMTYPE, '..'), member('data/link/outside')],
            [member('data/link', tarfile.SYMTYPE, '/etc/passwd')],
            [member('data/link', tarfile.LNKTYPE, '../../outside')],
            [member('data/pipe', tarfile.FIFOTYPE)],
        ],
    )
    def test_nothing_is_written_outside(self, tmp_path, members):
        root = tmp_path / 'root'
        root.mkdir()
        archive = root / 'data.tar'
        with tarfile.open(archive, 'w') as tar:
            for info, content in [member('data/fine'), *members]:
                tar.addfile(info, content)
        with pytest.raises(RuntimeError, match='data.tar cannot be read'):
            unpack_folder(str(archive), str(root / 'data'))
        assert [path.name for path in tmp_path.iterdir()] == ['root']
        assert [path.name for path in root.iterdir()] == ['data.tar']

    def test_absolute_names_stay_inside(self, tmp_path):
        root, outside = tmp_path / 'root', tmp_path / 'outside'
        root.mkdir()
        with tarfile.open(root / 'data.tar', 'w') as tar:
            for info, content in (member('data/fine'), member(str(outside))):
                tar.addfile(info, content)
        unpack_folder(str(root / 'data.tar'), str(root / 'data'))
        assert [path.name for path in (root / 'data').iterdir()] == ['fine']
        assert not outside.exists()


def serve(monkeypatch, tmp_path, content):
    """Every download gives this content; returns the URLs that were asked for."""
    asked = []

    class Response(io.BytesIO):
        def info(self):
            return email.message.Message()

        headers = email.message.Message()

    def answer(request, *args, **kwargs):
        asked.append(request.full_url)
        return Response(content)

    monkeypatch.setattr('torch.hub.urlopen', answer)
    monkeypatch.setattr('torch.hub._hub_dir', str(tmp_path / 'hub'))
    restrict_loading()
    return asked


class TestDownload:
    @pytest.fixture
    def weights(self):
        buffer = io.BytesIO()
        torch.save(dict(state_dict=torch.nn.Linear(2, 2).state_dict()), buffer)
        return buffer.getvalue()

    def test_verified_at_every_load(self, weights, tmp_path, monkeypatch):
        url = f'https://example.org/linear-{hashlib.sha256(weights).hexdigest()[:8]}.pth'
        asked = serve(monkeypatch, tmp_path, weights)
        model = torch.nn.Linear(2, 2)
        for _ in range(2):
            loaded = load_checkpoint(model, url)
            assert torch.equal(model.weight, loaded['state_dict']['weight'])
        assert asked == [url]
        (file,) = (tmp_path / 'hub' / 'checkpoints').iterdir()
        file.write_bytes(weights + b'x')
        with pytest.raises(UserError, match='has sha256 .*remove it'):
            load_checkpoint(model, url)

    def test_other_content(self, weights, tmp_path, monkeypatch):
        serve(monkeypatch, tmp_path, weights)
        model = torch.nn.Linear(2, 2)
        before = model.weight.clone()
        with pytest.raises(UserError, match='instead of 12345678'):
            load_checkpoint(model, 'https://example.org/linear-12345678.pth')
        assert torch.equal(model.weight, before)

    def test_no_checksum(self, weights, tmp_path, monkeypatch):
        asked = serve(monkeypatch, tmp_path, weights)
        with pytest.raises(UserError, match='cannot be verified'):
            load_checkpoint(torch.nn.Linear(2, 2), 'https://example.org/linear.pth')
        assert asked == []

    def test_named_models_too(self, weights, tmp_path, monkeypatch):
        asked = serve(monkeypatch, tmp_path, weights)
        with pytest.raises(UserError, match='has sha256'):
            load_checkpoint(torch.nn.Linear(2, 2), 'torchvision://resnet18')
        assert len(asked) == 1 and Path(asked[0]).name.startswith('resnet18-')
