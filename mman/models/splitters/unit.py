import dataclasses
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Unit:
    """A view of one indivisible layer of a backbone.

    It owns nothing: its parts are the backbone's own modules, which stay
    registered there and nowhere else.

    Args:
        stage (int): Stage of the backbone, from 1; 0 is the stem.
        index (int): Position in the stage, from 0.
        parts (dict[str, nn.Module]): The modules that the unit applies one
            after the other, by their path in the backbone.
        output_shape (tuple[int, ...] | None): Shape of the output of one
            sample, (C, H, W); None until it has been inferred.
    """

    stage: int
    index: int
    parts: dict[str, nn.Module]
    output_shape: tuple[int, ...] | None = None

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
        """The unit as one callable module: its only part, or a Sequential."""
        parts = list(self.parts.values())
        return parts[0] if len(parts) == 1 else nn.Sequential(*parts)

    def with_shape(self, shape: tuple[int, ...]) -> 'Unit':
        """The same unit, its output shape known."""
        return dataclasses.replace(self, output_shape=tuple(shape))
