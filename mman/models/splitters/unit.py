import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

Part = nn.Module | nn.Parameter


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
        parts (dict[str, nn.Module | nn.Parameter]): What makes up the unit, by
            its path in the backbone, in the order of use.
        output_shape (tuple[int, ...] | None): Of one sample, a map (C, H, W), tokens
            (L, C) or a vector (C,); None until it has been inferred.
        compose (Callable): ``compose(*parts)`` makes them one module, without
            parameters of its own. Defaults to applying one after the other.
        num_extra_tokens (int): How many of the output's tokens, the first ones, are no
            patches of the image; the first is the class token. Defaults to 0.
        output (Unit | None): Of the last unit: what the backbone does to its
            output before it returns it. Trained with the unit, but not part of
            copies of it. Defaults to None, nothing.
    """

    stage: int
    index: int
    parts: dict[str, Part]
    output_shape: tuple[int, ...] | None = None
    compose: Callable[..., nn.Module] = in_a_row
    num_extra_tokens: int = 0
    output: 'Unit | None' = None

    @classmethod
    def of(cls, backbone: nn.Module, stage: int, index: int, *paths: str, **kwargs) -> 'Unit':
        """The unit of what a backbone has at these paths; ``kwargs`` as above."""
        return cls(stage, index, {path: _part(backbone, path) for path in paths}, **kwargs)

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
        """The unit as one callable module, without ``output``."""
        return self.compose(*self.parts.values())

    @property
    def module_with_output(self) -> nn.Module:
        """The unit as the backbone runs it: its module, then ``output``."""
        return self.module if self.output is None else in_a_row(self.module, self.output.module)

    @property
    def final_shape(self) -> tuple[int, ...] | None:
        """Shape of what :attr:`module_with_output` gives for one sample."""
        return self.output_shape if self.output is None else self.output.output_shape

    @property
    def all_parts(self) -> dict[str, Part]:
        """``parts`` and those of ``output``."""
        return self.parts if self.output is None else {**self.parts, **self.output.parts}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of all parts."""
        for part in self.all_parts.values():
            if isinstance(part, nn.Parameter):
                yield part
            else:
                yield from part.parameters()

    def with_shape(self, shape: tuple[int, ...], final: tuple[int, ...] | None = None) -> 'Unit':
        """The same unit, its output shape known, and that of ``output`` if it has one."""
        output = self.output and dataclasses.replace(self.output, output_shape=tuple(final))
        return dataclasses.replace(self, output_shape=tuple(shape), output=output)

    def with_output(self, backbone: nn.Module, *paths: str, **kwargs) -> 'Unit':
        """The same unit with something between its output and the backbone's."""
        output = Unit.of(backbone, self.stage, self.index, *paths, **kwargs)
        return dataclasses.replace(self, output=output)

    def within(self, backbone: nn.Module) -> 'Unit':
        """The same unit over the modules that ``backbone`` has at its paths now."""
        return dataclasses.replace(
            self,
            parts={path: _part(backbone, path) for path in self.parts},
            output=self.output and self.output.within(backbone),
        )


def stage_units(backbone: nn.Module, paths: Sequence[str], **kwargs) -> list[Unit]:
    """A unit for every member of the containers at ``paths``, stages 1, 2, ... in order."""
    return [
        Unit.of(backbone, stage, index, f'{path}.{index}', **kwargs)
        for stage, path in enumerate(paths, start=1)
        for index in range(len(backbone.get_submodule(path)))
    ]


def _part(backbone: nn.Module, path: str) -> Part:
    """The module or parameter of a backbone at a dotted path."""
    parent, _, name = path.rpartition('.')
    return getattr(backbone.get_submodule(parent), name)
