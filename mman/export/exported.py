"""What the exports say of the files they wrote."""

import io
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Exported:
    """A file that was written; as a string, what the tools print of it."""

    path: str
    facts: dict[str, str] = field(default_factory=dict)  #: What it holds, by a short name.
    #: Largest difference of its class scores from the classifier's, as a part of the largest
    #: score; None where the weights are the same.
    difference: float | None = None
    images: int = 0  #: Number of images that it was computed on.

    def __str__(self) -> str:
        lines = dict(self.facts)
        if self.difference is not None:
            lines['difference'] = (
                f'{self.difference:.1e} of the largest score, on {self.images} images'
            )
        lines['written'] = self.path
        return '\n'.join(f'{name + ":":<11} {text}' for name, text in lines.items())


def torch_bytes(content: Any) -> bytes:
    """What ``torch.save`` makes of it, read back once as anyone would, without pickled code."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=True)
    return buffer.getvalue()
