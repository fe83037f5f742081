"""A linear classifier on fixed features."""

import warnings
from dataclasses import dataclass

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ITERATIONS = 1000


@dataclass(frozen=True)
class Probe:
    """What a linear classifier made of the features of a block.

    Args:
        features (int): Length of a feature vector.
        train (float): Accuracy on the images it was trained on, in per cent.
        val (float): Accuracy on the others, in per cent.
        converged (bool): Whether its training did.
    """

    features: int
    train: float
    val: float
    converged: bool


def fit_probe(
    train: torch.Tensor, labels: torch.Tensor, val: torch.Tensor, val_labels: torch.Tensor
) -> Probe:
    """Fit scikit-learn's logistic regression, L2 with C = 1, to standardised features.

    Mean and deviation are those of the training features.

    Args:
        train (Tensor): (N, C) features to train on.
        labels (Tensor): (N, ) classes.
        val (Tensor): (M, C) features to test on.
        val_labels (Tensor): (M, ) classes.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        model.fit(train.numpy(), labels.numpy())
    return Probe(
        features=train.shape[1],
        train=100 * model.score(train.numpy(), labels.numpy()),
        val=100 * model.score(val.numpy(), val_labels.numpy()),
        converged=not any(issubclass(item.category, ConvergenceWarning) for item in caught),
    )
