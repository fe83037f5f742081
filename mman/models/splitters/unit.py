import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


def in_a_row(*parts: nn.Module) -> nn.Module:
    """The parts applied one after the other, as one module."""
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


@dataclass(frozen=True)
class Unit:
    """A view of one indivisible layer of a backbone.

    It owns nothing: its parts are the backbone's own modules, which stay
    registered there and nowhere else.

    Args:
        stage (int): Stage of the backbone, from 1; 0 is the stem.
        index (int): Position in the stage, from 0.
        parts (dict[str, nn.Module]): The modules that make up the unit, by
            their path in the backbone, in the order of use.
        output_shape (tuple[int, ...] | None): Shape of the output of one
            sample, (C, H, W); None until it has been inferred.
        compose (Callable): ``compose(*parts)`` makes them one module, without
            parameters of its own. Defaults to applying one after the other.
    """

    stage: int
    index: int
    parts: dict[str, nn.Module]
    output_shape: tuple[int, ...] | None = None
    compose: Callable[..., nn.Module] = in_a_row

    @property
    def name(self) -> str:
        """'stem' or 'stage.index', as in presets and ``ends``."""
        return 'stem' if self.is_stem else f'{self.stage}.{self.index}'

    @property
    def is_stem(self) -> bool:
        """Whether it comes before the first stage."""
        return self.stage == 0

    @property
    def module(self) -> nn.Module:
        """The unit as one callable module."""
        return self.compose(*self.parts.values())

    def with_shape(self, shape: tuple[int, ...]) -> 'Unit':
        """The same unit, its output shape known."""
        return dataclasses.replace(self, output_shape=tuple(shape))

    def within(self, backbone: nn.Module) -> 'Unit':
        """The same unit over the modules that ``backbone`` has at its paths now."""
        return dataclasses.replace(
            self, parts={path: backbone.get_submodule(path) for path in self.parts}
        )
