"""Linear centred kernel alignment (CKA).

Sources: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, for
CKA and the biased estimator of HSIC in it; Song et al., "Feature Selection via Dependence
Maximization", JMLR 2012, for the unbiased one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Columns of features that are in double precision at a time.
COLUMNS = 4096


@dataclass(frozen=True)
class Side:
    """One of two models.

    Args:
        name (str): What to call it.
        ends (tuple[str, ...]): Last unit of every block.
        grams (Tensor): Centred Gram matrices, (K, N, N).
    """

    name: str
    ends: tuple[str, ...]
    grams: torch.Tensor


def gram_matrix(batches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Inner products of flattened features, float64 (N, N).

    Args:
        batches (Sequence[Tensor]): Features of N samples together, (n, ...).
    """
    features = torch.cat([batch.flatten(1) for batch in batches])
    # Centring changes nothing in CKA, but without it large means would cost digits.
    features = features - features.mean(dim=0)
    return sum(part.double() @ part.double().T for part in features.split(COLUMNS, dim=1))


def centred(gram: torch.Tensor, unbiased: bool = False) -> torch.Tensor:
    """A matrix whose inner product with another is their HSIC, up to a constant.

    Args:
        gram (Tensor): Symmetric, (N, N), N from 4 on.
        unbiased (bool): For Song's estimator (U-centring: the diagonal left
            out) instead of the biased one. Defaults to False.
    """
    if not unbiased:
        rows = gram.mean(dim=0)
        return gram - rows - rows[:, None] + gram.mean()
    n = len(gram)
    gram = gram - torch.diag(gram.diagonal())
    rows = gram.sum(dim=0) / (n - 2)
    result = gram - rows - rows[:, None] + gram.sum() / ((n - 1) * (n - 2))
    return result.fill_diagonal_(0)


def cka(first: torch.Tensor, second: torch.Tensor) -> list[list[float]]:
    """CKA of every pair, (K1, K2); NaN where features do not differ between samples.

    Args:
        first (Tensor): Centred Gram matrices, (K1, N, N).
        second (Tensor): Likewise, (K2, N, N).
    """
    first, second = first.flatten(1), second.flatten(1)
    scale = first.norm(dim=1)[:, None] * second.norm(dim=1)
    return (first @ second.T / scale).tolist()
