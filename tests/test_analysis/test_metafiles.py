"""READMEs and metafiles of the configs, held against torchvision's figures and the records."""

import re
import runpy
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from statistics import mean

import modelindex
import pytest
import torch
import torchvision
import yaml
from mmpretrain.apis import ModelHub

from mman import apis
from mman.analysis.metafiles import difference, methods_of, outdated
from mman.models.classifiers import local_classifier
from mman.models.splitters import local_block_splitter, shapes
from mman.utils import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FOLDERS = sorted(p for p in CONFIGS.iterdir() if p.is_dir() and p.name != '_base_')
RECORD = ROOT / 'benchmarks' / 'records' / '2026-11-21-digits'
every_folder = pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)

# Papers that CITATION.cff does not list.
PAPERS = {
    'auglocal': 'https://arxiv.org/abs/2402.17318',
    'bp': 'https://doi.org/10.1038/323533a0',
    'dgl': 'https://arxiv.org/abs/1901.08164',
    'feature_reconstruction': 'https://arxiv.org/abs/2212.14215',
    'greedy': 'https://arxiv.org/abs/1812.11446',
    'infopro': 'https://arxiv.org/abs/2101.10832',
    'mono_forward': 'https://arxiv.org/abs/2501.09238',
    'predsim': 'https://arxiv.org/abs/1901.06656',
}
# network -> features from layer to layer, and whether hidden ones have BatchNorm
MLPS = {
    'mlp2x1000': ([784, 1000, 1000, 10], False),
    'mlp3x1024': ([784, 1024, 1024, 1024, 10], True),
}
# network on ImageNet -> torchvision's weights, which say what the network has and costs
TORCHVISION = {
    'resnet18': 'ResNet18_Weights.IMAGENET1K_V1',
    'resnet34': 'ResNet34_Weights.IMAGENET1K_V1',
    'resnet50': 'ResNet50_Weights.IMAGENET1K_V1',
    'resnet101': 'ResNet101_Weights.IMAGENET1K_V1',
    'resnet152': 'ResNet152_Weights.IMAGENET1K_V1',
    'resnext101-32x8d': 'ResNeXt101_32X8D_Weights.IMAGENET1K_V1',
    'vit-base': 'ViT_B_16_Weights.IMAGENET1K_V1',
}
# CIFAR ResNets, as their papers' codes have them with 10 classes.
CIFAR_PARAMETERS = {'resnet20': 272_474, 'resnet32': 466_906, 'resnet110': 1_730_714}
SIDES = {'CIFAR-10': 32, 'SVHN': 32, 'STL-10': 96, 'scikit-learn digits': 8}
# Vision transformers: parameters as timm documents them, channels.
VITS = {'vit-tiny': (5_717_416, 192), 'vit-small': (22_050_664, 384), 'vit-base': (86_567_656, 768)}


@pytest.fixture(scope='module')
def index():
    """The whole index, as tools of OpenMMLab load it."""
    return modelindex.load(str(ROOT / 'model-index.yml'))


@pytest.fixture(scope='module')
def models(index):
    """Model of the index by name."""
    return {model.name: model for model in index.models}


def metafile(folder):
    """A metafile as it is written."""
    return yaml.safe_load((folder / 'metafile.yml').read_text())


def collection(folder):
    """The one collection of a metafile."""
    (found,) = metafile(folder)['Collections']
    return found


def metadata(model):
    """Metadata of a model as a plain dict."""
    return model.metadata.data


def arch(model):
    """Network of a model, from its name."""
    return model.name.split('/')[1].split('_')[0]


def test_every_config_is_listed_once_under_its_name(index, models):
    names = [model.name for model in index.models]
    assert sorted(names) == apis.list_models()
    for name, model in models.items():
        assert model.config == f'configs/{name}.py'
        assert Path(apis.config_path(name)).resolve() == ROOT / model.config
        packaged = name in apis.list_models(pretrained=True)
        assert model.weights == (f'mman/weights/{name}.pth' if packaged else None)


def test_the_index_has_no_errors(index):
    # As in mmpretrain README is a path from the root; the checker takes it from the metafile.
    errors = [e for e in index.check(silent=True) if 'Path to README file' not in e]
    assert errors == []
    imports = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert imports == [f'configs/{folder.name}/metafile.yml' for folder in FOLDERS]


def test_mmpretrain_registers_the_models(models, monkeypatch):
    monkeypatch.setattr(ModelHub, '_models_dict', {})
    monkeypatch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)
    ModelHub.register_model_index(ROOT / 'model-index.yml', config_prefix=ROOT)
    assert set(ModelHub._models_dict) == set(models)
    found = ModelHub.get('man/resnet32_k16_cifar10')
    assert found.config.model.splitter.num_blocks == 16
    assert found.full_model.paper['URL'] == 'https://arxiv.org/abs/2407.05623'


@every_folder
def test_collection_and_its_paper(folder):
    found, text = collection(folder), (folder / 'README.md').read_text()
    assert set(found) == {'Name', 'Metadata', 'Paper', 'README', 'Code'}
    assert set(found['Metadata']) == {'Training Techniques', 'Architecture'}
    assert ROOT / found['README'] == folder / 'README.md'
    assert (ROOT / found['Code']['URL']).is_file()
    assert all(model['In Collection'] == found['Name'] for model in metafile(folder)['Models'])
    # The paper is the one that is cited.
    references = yaml.safe_load((ROOT / 'CITATION.cff').read_text())['references']
    cited = dict(zip(('man', 'manpp'), references, strict=True))
    paper = found['Paper']
    if folder.name in cited:
        assert paper['Title'] == cited[folder.name]['title']
    assert paper['URL'] == (PAPERS | {k: v['url'] for k, v in cited.items()})[folder.name]
    lines = text.splitlines()
    assert lines[0] == f'# {found["Name"]}'
    assert lines[2] == f'> [{paper["Title"]}]({paper["URL"]})'
    (title,) = re.findall(r'^  title=\{(.*)\},$', text, re.M)
    assert re.sub('[{}]', '', title) == paper['Title']


@every_folder
def test_readme(folder, models):
    """Its table lists the configs; its links and names lead somewhere."""
    text = (folder / 'README.md').read_text()
    table = text.partition('<!-- configs:')[2].partition('<!-- end of configs -->')[0]
    rows = re.findall(r'^\| \[(.+?)\]\((.+?)\) \| (.+?) \| (\d+) \|', table, re.M)
    assert len(rows) == table.count('\n| ') - 2
    assert sorted(link for _, link, *_ in rows) == sorted(p.name for p in folder.glob('*.py'))
    for stem, link, dataset, num_blocks in rows:
        found = metadata(models[f'{folder.name}/{stem}'])
        assert link == f'{stem}.py'
        assert (dataset, int(num_blocks)) == (found['Training Data'], found['Local Blocks'])
    for link in re.findall(r'\]\((?!https?:)(.+?)[#)]', text):
        assert (folder / link).exists(), link
    for name in re.findall(r'^\| ((?:res|vit)\S+) \|', text, re.M):
        assert (folder / f'{name}.py').is_file(), name
    for path in re.findall(r'configs/\S+\.py', text):
        assert (ROOT / path).is_file(), path


def cifar_macs(depth, side):
    """Multiply-adds of a CIFAR ResNet, from its layers; both later stages halve the side."""
    units = (depth - 2) // 6
    total = 3 * 16 * 9 * side**2
    for index, width in enumerate((16, 32, 64)):
        before = width if index == 0 else width // 2
        pixels = (side >> index) ** 2
        total += pixels * (2 * units - 1) * width * width * 9 + pixels * before * width * 9
        total += pixels * before * width if index else 0
    return total + 64 * 10


def vit_macs(width):
    """Multiply-adds of a ViT on 14 x 14 patches of 16 x 16 pixels."""
    tokens, patch = 14 * 14 + 1, 16 * 16 * 3
    layer = tokens * 12 * width**2 + 2 * tokens**2 * width
    return 14 * 14 * patch * width + 12 * layer + width * 1000


def test_parameters_and_flops_at_inference(models):
    for model in models.values():
        name, found = arch(model), metadata(model)
        macs, parameters = found['FLOPs'], None
        if name in TORCHVISION:
            meta = torchvision.models.get_weight(TORCHVISION[name]).meta
            parameters = meta['num_params']
            # Of your own images they are 128 pixels wide, where torchvision has 224.
            scale = (128 / 224) ** 2 if found['Training Data'] == 'your own images' else 1
            assert macs / 1e9 == pytest.approx(scale * meta['_ops'], abs=6e-4), model.name
        if name in VITS:
            parameters, width = VITS[name]
            assert macs == vit_macs(width), model.name
        if name in MLPS:
            widths, normed = MLPS[name]
            assert macs == sum(a * b for a, b in pairwise(widths)), model.name
            # Biases, and a scale and a shift of BatchNorm; Mono-Forward's projection has no bias.
            parameters = macs + sum(widths[1:]) + 2 * normed * sum(widths[1:-1])
            parameters -= 10 * model.name.startswith('mono_forward/')
        if name in CIFAR_PARAMETERS:
            parameters, side = CIFAR_PARAMETERS[name], SIDES[found['Training Data']]
            side = 16 if model.name.endswith('-16px') else side
            assert macs == cifar_macs(int(name.removeprefix('resnet')), side), model.name
        assert found['Parameters'] == parameters, model.name


def test_trained_parameters(models):
    # Greedy heads: one linear layer each, on six maps of 16 channels, five of 32, four of 64.
    heads = 6 * (16 * 10 + 10) + 5 * (32 * 10 + 10) + 4 * (64 * 10 + 10)
    greedy = metadata(models['greedy/resnet32_k16_cifar10'])
    assert greedy['Trained Parameters'] == CIFAR_PARAMETERS['resnet32'] + heads
    # MAN++ has one scalar per aux head more than MAN.
    man, manpp = (metadata(models[f'{m}/resnet110_k55_cifar10']) for m in ('man', 'manpp'))
    assert manpp['Trained Parameters'] == man['Trained Parameters'] + 54
    for name, model in models.items():
        found = metadata(model)
        if name.startswith('bp/'):
            assert found['Trained Parameters'] == found['Parameters'] and found['Local Blocks'] == 1
        else:
            assert found['Trained Parameters'] > found['Parameters'], name


def test_results_are_those_on_record(models):
    lines = (RECORD / 'summary.txt').read_text()
    trained = {name for name, model in models.items() if model.results is not None}
    # Of those with weights it is the accuracy that their card has.
    packaged = set(apis.list_models(pretrained=True))
    for name in packaged:
        (result,) = models[name].results
        line = f'`{name}` .*\\| {result.metrics["Top 1 Accuracy"]:.2f} \\| 0 \\|'
        assert re.search(line, (ROOT / 'docs' / 'pretrained.md').read_text()), name
    trained -= packaged
    assert trained == {'bp/resnet20_digits', 'man/resnet20_k10_digits'}
    for name in trained:
        folder, stem = name.split('/')
        accuracies = re.findall(rf'^{stem} seed \d: accuracy/top1: ([\d.]+)', lines, re.M)
        assert len(accuracies) == 5
        (result,) = models[name].results
        # Of accuracies with two digits.
        expected = mean(map(float, accuracies))
        assert result.metrics['Top 1 Accuracy'] == pytest.approx(expected, abs=0.011)
        assert result.dataset == 'scikit-learn digits'
        # Mean and deviation are in the record's own table.
        (cell,) = re.findall(
            rf'\({stem}\.py\).*\[(.+?)\]\(\.\./\.\./benchmarks/records/{RECORD.name}\), 5 seeds',
            (CONFIGS / folder / 'README.md').read_text(),
        )
        assert f'| {cell} |' in (RECORD / 'README.md').read_text()


@pytest.mark.full
@pytest.mark.slow
def test_nothing_is_out_of_date(monkeypatch):
    """Every model is built anew, but its weights are not drawn and it is not tried out.

    The shapes of a network's units are found once: methods and splits do not change them.
    """
    found = {}

    def fake_pass(backbone, input_shape, run=shapes._fake_pass):
        key = (repr(backbone), tuple(input_shape))
        return found[key] if key in found else found.setdefault(key, run(backbone, input_shape))

    monkeypatch.setattr(shapes, '_fake_pass', fake_pass)
    monkeypatch.setattr(local_classifier, 'check_aux_heads', lambda *_: None)
    monkeypatch.setattr(local_block_splitter, 'check_equivalence', lambda *_: None)
    for name in ('kaiming_uniform_', 'normal_', 'trunc_normal_', 'uniform_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    wrong = [difference(path, text) for path, text in outdated(ROOT, methods_of(ROOT))]
    assert not wrong, '\n'.join(wrong)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A root with one method of one config, and ``run(*args)`` of the tool in it."""
    folder = tmp_path / 'configs' / 'bp'
    folder.mkdir(parents=True)
    shutil.copytree(CONFIGS / '_base_', folder.parent / '_base_')
    shutil.copytree(RECORD, tmp_path / RECORD.relative_to(ROOT))
    for name in ('resnet20_digits.py', 'README.md', 'metafile.yml'):
        shutil.copy(CONFIGS / 'bp' / name, folder)
    main = runpy.run_path(str(ROOT / 'tools/misc/update_metafiles.py'))['main']
    monkeypatch.setitem(main.__globals__, 'ROOT', tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['update_metafiles.py', *args])
        main()

    return folder, run


def test_writing_keeps_what_was_written_by_hand(small, capsys):
    folder, run = small
    readme, metafile_path = folder / 'README.md', folder / 'metafile.yml'
    before = readme.read_text()
    with pytest.raises(SystemExit) as exit_info:
        run('--check')
    assert exit_info.value.code == 1
    assert '-| [resnet32_cifar10](resnet32_cifar10.py) | CIFAR-10' in capsys.readouterr().out
    assert readme.read_text() == before
    run('--write')
    run('--check')
    assert 'all is up to date' in capsys.readouterr().out
    after = readme.read_text()
    for mark in ('<!-- configs', '<!-- end of configs -->'):
        assert before.count(mark) == after.count(mark) == 1
    assert before.split('<!-- configs')[0] == after.split('<!-- configs')[0]
    assert before.split('<!-- end of')[1] == after.split('<!-- end of')[1]
    assert '| [resnet20_digits](resnet20_digits.py) | scikit-learn digits | 1 |' in after
    assert after.count('](resnet') == 1
    (model,) = yaml.safe_load(metafile_path.read_text())['Models']
    assert model['Name'] == 'bp/resnet20_digits'
    assert model['Metadata']['Parameters'] == 272_474
    head = (CONFIGS / 'bp' / 'metafile.yml').read_text().partition('Models:')[0]
    assert metafile_path.read_text().startswith(head)


def test_a_stale_number_is_found(small, capsys):
    folder, run = small
    run('--write')
    readme = folder / 'README.md'
    readme.write_text(readme.read_text().replace('272,474 |', '272,475 |', 1))
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run('--check', 'bp')
    out = capsys.readouterr().out
    assert '1 files are out of date' in out
    assert '272,475' in out and '+| [resnet20_digits]' in out


@pytest.mark.parametrize(
    ('name', 'old', 'new', 'message'),
    [
        ('README.md', '<!-- end of configs -->', '', "'<!-- end of configs -->', each once"),
        ('README.md', '## Citation', '<!-- end of configs -->', 'each once'),
        ('metafile.yml', 'Models:', 'Model:', "then the line 'Models:'"),
        ('resnet20_digits.py', 'digits.py', 'cifar100.py', "dataset_type='CIFAR100' should be"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(small, name, old, new, message):
    folder, _ = small
    path = folder / name
    path.write_text(path.read_text().replace(old, new))
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(UserError, match=re.escape(message)):
        list(outdated(folder.parents[1], ['bp']))
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_what_is_missing(small):
    folder, _ = small
    (folder / 'README.md').unlink()
    with pytest.raises(UserError, match='README.md.* is missing: write its first part by hand'):
        list(outdated(folder.parents[1], ['bp']))
    with pytest.raises(UserError, match="'mann' should be one of auglocal, bp,"):
        list(outdated(ROOT, ['mann']))
