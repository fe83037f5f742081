from collections.abc import Callable, Sequence

from torch import nn

from mman.registry import TASK_UTILS
from mman.utils import UserError, integer_from, one_of

from .adapters import find_adapter
from .presets import DEFAULT_PRESETS, PRESETS
from .search import Costs, smallest_peak
from .shapes import check_equivalence, shaped_units
from .unit import Unit

End = str | Sequence[int]


@TASK_UTILS.register_module()
class LocalBlockSplitter:
    """Cut a backbone into K local blocks of consecutive units.

    Args:
        num_blocks (int | None): K, the last block included; 1 is plain
            backpropagation. Either this or ``ends``.
        ends (Sequence[str | Sequence[int]] | None): The last unit of every
            block in order, as 'stem', 'stage.unit' or (stage, unit), stages
            from 1 and units from 0; the last is the network's last unit.
        strategy (str): How ``num_blocks`` is turned into ends: 'preset', a
            published split (:mod:`.presets`); 'uniform', blocks of as equal
            a number of units as possible, the longer ones first; 'single',
            blocks of one unit each but the last, which takes what remains
            (AugLocal, ICLR 2024; a fused stem comes on top); or 'memory',
            the split whose largest block takes the fewest bytes in training,
            found on fake tensors. Where every unit is a block of its own there
            is only one way. Defaults to 'preset'.
        stem (str): 'fused', the stem belongs to the first block, or 'own',
            the stem is a block of its own (MAN++ on CIFAR), one of
            ``num_blocks``. Defaults to 'fused'.
        preset (str | None): Name in :data:`.presets.PRESETS`. Defaults to the
            one of the backbone's type and depth.
        batch_size (int): Images of a batch, for 'memory': parameters weigh more
            beside the activations of a small batch. Defaults to 128.

    Raises:
        UserError: If an argument is out of range or contradicts another.
    """

    def __init__(
        self,
        num_blocks: int | None = None,
        ends: Sequence[End] | None = None,
        strategy: str = 'preset',
        stem: str = 'fused',
        preset: str | None = None,
        batch_size: int = 128,
    ):
        if (num_blocks is None) == (ends is None):
            raise UserError(
                f'splitter: give either num_blocks or ends, not num_blocks={num_blocks!r} and '
                f'ends={ends!r}'
            )
        if num_blocks is not None:
            integer_from(1, 'splitter.num_blocks', num_blocks)
        one_of('splitter.strategy', strategy, ('preset', 'uniform', 'single', 'memory'))
        one_of('splitter.stem', stem, ('fused', 'own'))
        one_of('splitter.preset', preset, (None, *PRESETS))
        # BatchNorm needs more than one value per channel.
        integer_from(2, 'splitter.batch_size', batch_size)
        self.num_blocks = num_blocks
        self.ends = ends
        self.strategy = strategy
        self.stem = stem
        self.preset = preset
        self.batch_size = batch_size

    def split(
        self,
        backbone: nn.Module,
        input_shape: Sequence[int],
        costs: Callable[[list[Unit], int, int], Costs] | None = None,
    ) -> list[list[Unit]]:
        """Units of every block, in order, with their output shapes.

        Args:
            backbone (nn.Module): A backbone with a unit adapter.
            input_shape (Sequence[int]): (C, H, W) of one image.
            costs (Callable | None): ``costs(units, num_blocks, batch_size)``, what
                blocks would cost, which the strategy 'memory' needs.

        Raises:
            UserError: If the backbone cannot be cut so.
        """
        units = shaped_units(backbone, find_adapter(backbone)(backbone), input_shape)
        check_equivalence(backbone, units, input_shape)
        names = [unit.name for unit in units]
        if self.ends is not None:
            ends = self._given_ends(names)
        elif self.strategy == 'memory' and self._has_choice(names):
            found = costs(units, self.num_blocks, self.batch_size)
            ends = smallest_peak(found, self.num_blocks, self.stem)
        else:
            ends = self._chosen_ends(backbone, names)
        starts = [0, *(end + 1 for end in ends[:-1])]
        return [units[start : end + 1] for start, end in zip(starts, ends, strict=True)]

    def _given_ends(self, names: list[str]) -> list[int]:
        """Positions of the ends that the config lists."""
        wanted = [_end_name(end) for end in self.ends]
        for end in wanted:
            if end not in names:
                raise UserError(
                    f'splitter.ends has {end!r}, which is not a unit: units are {_span(names)}'
                )
        positions = [names.index(end) for end in wanted]
        if positions != sorted(set(positions)):
            raise UserError(f'splitter.ends={wanted} should be in order, each unit once')
        if not positions or positions[-1] != len(names) - 1:
            raise UserError(
                f'splitter.ends={wanted} should reach the last unit, {names[-1]!r}: the last '
                'block ends there'
            )
        return positions

    def _has_choice(self, names: list[str]) -> bool:
        """Whether there is more than one way to cut into K blocks."""
        return 1 < self.num_blocks < len(names) - 1 + (self.stem == 'own')

    def _chosen_ends(self, backbone: nn.Module, names: list[str]) -> list[int]:
        """Positions of the ends that ``num_blocks`` and ``strategy`` give."""
        last = len(names) - 1
        if self.num_blocks == 1:
            return [last]
        own = self.stem == 'own'
        first = [0] if own else []
        rest = self.num_blocks - len(first)
        body = names[1:]
        if rest > len(body):
            raise UserError(
                f'splitter.num_blocks={self.num_blocks} is more than the {len(body) + len(first)} '
                f'blocks that {type(backbone).__name__} can be cut into with stem={self.stem!r}'
                + ('' if own else "; stem='own' allows one more")
            )
        if rest == len(body):
            ends = list(range(1, last + 1))
        elif self.strategy == 'single':
            ends = [*range(1, rest), last]
        elif self.strategy == 'uniform':
            size, longer = divmod(len(body), rest)
            ends = [size * (k + 1) + min(k + 1, longer) for k in range(rest)]
        else:
            ends = self._preset_ends(backbone, names, rest)
        return first + ends

    def _preset_ends(self, backbone: nn.Module, names: list[str], blocks: int) -> list[int]:
        """Positions of a published split of everything after an own stem."""
        key = (type(backbone).__name__, getattr(backbone, 'depth', None))
        preset = self.preset or DEFAULT_PRESETS.get(key)
        if preset is None:
            raise UserError(
                f"splitter.strategy='preset' knows no split of {key[0]} of depth {key[1]}: use "
                "strategy='uniform' or list the ends"
            )
        table = PRESETS[preset][1]
        if blocks not in table:
            own = self.stem == 'own'
            known = sorted(num_blocks + own for num_blocks in table)
            raise UserError(
                f'splitter.num_blocks={self.num_blocks} is not in the preset {preset!r}, which '
                f'has {known} (and {len(names) - 1 + own}, every unit) with stem={self.stem!r}: '
                "use one of these, strategy='uniform', or list the ends"
            )
        missing = [end for end in table[blocks].split() if end not in names]
        if missing:
            raise UserError(
                f'splitter.preset={preset!r} does not fit {key[0]} of depth {key[1]}, which has '
                f'no unit {missing[0]!r}'
            )
        return [names.index(end) for end in table[blocks].split()] + [len(names) - 1]


def _end_name(end: End) -> str:
    """'stem' or 'stage.unit' from any accepted way of writing an end."""
    if isinstance(end, str):
        return 'stem' if end == '0.0' else end
    if isinstance(end, Sequence) and len(end) == 2:
        stage, unit = end
        return 'stem' if stage == 0 else f'{stage}.{unit}'
    raise UserError(
        f"splitter.ends has {end!r}, which should be 'stem', 'stage.unit' or (stage, unit)"
    )


def _span(names: list[str]) -> str:
    """A short account of the units there are."""
    return ', '.join(names) if len(names) <= 20 else f'{names[0]}, {names[1]} ... {names[-1]}'
