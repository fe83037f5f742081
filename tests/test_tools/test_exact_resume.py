"""A training that was interrupted and resumed ends as the uninterrupted one, bit for bit."""

import pytest

from mman.utils.checkpoint import load_from_local
from mman.utils.preempted import EXIT_CODE
from tests.helpers.interruption import differences, state_of

CONFIGS = dict(
    epoch='tests/helpers/survival_config.py', iter='tests/helpers/survival_iter_config.py'
)
LAST = dict(epoch='epoch_3.pth', iter='iter_18.pth')
KILLED = -9
BY_ITER = ['default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=4']


@pytest.fixture(scope='module')
def train(server, tmp_path_factory):
    """``train(loop, work_dir, options)`` gives the exit code and the output."""

    def run(loop, work_dir, *options, resume=False, seed=('--seed', 3)):
        log = tmp_path_factory.mktemp('log') / 'log.txt'
        arguments = [CONFIGS[loop], '--work-dir', work_dir, *seed, *['--resume'] * resume]
        return server.run(log, *arguments, *(['--cfg-options', *options] if options else []))

    return run


@pytest.fixture(scope='module')
def whole(train, tmp_path_factory):
    """State at the end of the uninterrupted training, without worker processes."""
    states = {}

    def get(loop):
        if loop not in states:
            work_dir = tmp_path_factory.mktemp(f'whole_{loop}')
            code, output = train(loop, work_dir)
            assert code == 0, output
            states[loop] = state_of(load_from_local(work_dir / LAST[loop]))
        return states[loop]

    return get


def assert_same(whole, work_dir, loop, ignore=()):
    found = state_of(load_from_local(work_dir / LAST[loop]))
    different = [path for path in differences(whole, found) if not path.startswith(ignore)]
    assert not different, different


WORKERS = {
    '0': [],
    '2': ['train_dataloader.num_workers=2'],
    '2p': ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True'],
}
# Six iterations an epoch. Checkpoints after 6 and 12, or with BY_ITER after 4, 8, ...
INTERRUPTIONS = {
    'killed after an epoch': ('SIGKILL', 7, [], 'epoch: 1, iter: 6'),
    'killed within one': ('SIGKILL', 10, BY_ITER, 'epoch: 1, iter: 8'),
    'asked to stop': ('SIGTERM', 9, [], 'epoch: 1, iter: 9'),
    'asked at its end': ('SIGUSR1', 12, [], 'epoch: 2, iter: 12'),
}


@pytest.mark.parametrize(
    ('interruption', 'workers'),
    [
        ('asked to stop', '0'),
        pytest.param('killed after an epoch', '2', marks=pytest.mark.full),
        pytest.param('killed within one', '2p', marks=pytest.mark.full),
        pytest.param('asked at its end', '2', marks=pytest.mark.full),
    ],
)
def test_by_epoch(train, whole, tmp_path, interruption, workers):
    name, at, options, resumed = INTERRUPTIONS[interruption]
    options = [*options, *WORKERS[workers]]
    interrupt = [f'custom_hooks.2.at={at}', f'custom_hooks.2.name={name}']
    code, output = train('epoch', tmp_path, *options, *interrupt)
    assert code == (KILLED if name == 'SIGKILL' else EXIT_CODE), output
    # The last checkpoint is by epoch again, so that both have the same entries.
    code, output = train('epoch', tmp_path, *WORKERS[workers], resume=True)
    assert code == 0, output
    assert f'resumed {resumed}' in output
    assert_same(whole('epoch'), tmp_path, 'epoch', ignore=('/message_hub/runtime_info/keep_ckpt',))


@pytest.mark.full
@pytest.mark.parametrize(
    ('name', 'at', 'start', 'workers'), [('SIGKILL', 11, 8, '2p'), ('SIGTERM', 7, 7, '2')]
)
def test_by_iteration(train, whole, tmp_path, name, at, start, workers):
    interrupt = [f'custom_hooks.2.at={at}', f'custom_hooks.2.name={name}']
    code, output = train('iter', tmp_path, *WORKERS[workers], *interrupt)
    assert code == (KILLED if name == 'SIGKILL' else EXIT_CODE), output
    code, output = train('iter', tmp_path, *WORKERS[workers], resume=True)
    assert code == 0, output
    assert f'iter: {start}' in output
    assert_same(whole('iter'), tmp_path, 'iter')


@pytest.mark.full
def test_within_an_accumulation(train, tmp_path):
    """Four iterations a step: the gradients of the ninth wait for the twelfth."""
    every = ['optim_wrapper.accumulative_counts=4']
    code, output = train('epoch', tmp_path / 'whole', *every)
    assert code == 0, output
    stop = ['custom_hooks.2.at=9', 'custom_hooks.2.name=SIGTERM']
    code, output = train('epoch', tmp_path / 'cut', *every, *stop)
    assert code == EXIT_CODE, output
    assert load_from_local(tmp_path / 'cut' / 'preempted.pth')['resume']['ranks'][0]['gradients']
    code, output = train('epoch', tmp_path / 'cut', *every, resume=True)
    assert code == 0, output
    whole = state_of(load_from_local(tmp_path / 'whole' / LAST['epoch']))
    assert_same(whole, tmp_path / 'cut', 'epoch')


@pytest.mark.full
def test_without_a_seed_the_drawn_one_goes_on(train, tmp_path):
    """Also for the order of the samples, which mmengine draws anew."""
    code, output = train('epoch', tmp_path / 'whole', seed=())
    assert code == 0, output
    whole = state_of(load_from_local(tmp_path / 'whole' / LAST['epoch']))
    seed = ('--seed', whole['seed'])
    stop = ['custom_hooks.2.at=9', 'custom_hooks.2.name=SIGTERM']
    code, output = train('epoch', tmp_path / 'cut', *stop, seed=seed)
    assert code == EXIT_CODE, output
    code, output = train('epoch', tmp_path / 'cut', resume=True, seed=())
    assert code == 0, output
    assert_same(whole, tmp_path / 'cut', 'epoch')


@pytest.mark.full
def test_random_numbers_matter(train, whole, tmp_path):
    """Another seed ends elsewhere: the comparisons above can fail."""
    code, output = train('epoch', tmp_path, seed=('--seed', 4))
    assert code == 0, output
    found = state_of(load_from_local(tmp_path / LAST['epoch']))
    different = differences(whole('epoch'), found)
    assert '/state_dict/backbone.conv1.weight' in different
