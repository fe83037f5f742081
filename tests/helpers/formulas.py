"""The released functions in plain torch, written from their formulas; float64 in the tests."""

import torch
import torch.nn.functional as F


class Formulas:
    """Networks of given weights, BatchNorm by the batch.

    Args:
        weights (dict[str, Tensor]): Parameters by the names of our models.
    """

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def conv(self, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        """A convolution padded to keep the size."""
        weight = self.weights[f'{name}.weight']
        bias = self.weights.get(f'{name}.bias')
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """BatchNorm."""
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        weight, bias = (self.weights[f'{name}.{key}'].view(-1, 1, 1) for key in ('weight', 'bias'))
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A linear layer."""
        return x @ self.weights[f'{name}.weight'].T + self.weights[f'{name}.bias']

    def layer(self, conv: str, norm: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        """Convolution, BatchNorm, ReLU."""
        return self.norm(norm, self.conv(conv, x, stride)).relu()

    def unit(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A residual block of a CIFAR ResNet; one with a projection to more channels strides."""
        shortcut = f'{name}.downsample'
        projected = f'{shortcut}.0.weight' in self.weights
        stride = 2 if projected else 1
        y = self.layer(f'{name}.conv1', f'{name}.bn1', x, stride)
        y = self.norm(f'{name}.bn2', self.conv(f'{name}.conv2', y))
        if projected:
            x = self.norm(f'{shortcut}.1', self.conv(f'{shortcut}.0', x, stride))
        return (x + y).relu()

    def mixed(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """What the host head of MAN++ sees."""
        s = self.weights[f'{name}.scale']
        biased = self.unit(f'{name}.bias_unit', x)
        return s * biased + (2 - s) * self.unit(f'{name}.momentum_unit', x)

    def reconstruction(self, name: str, y: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """InfoPro's decoder and its binary cross-entropy."""
        y = self.layer(f'{name}.0', f'{name}.1', _resized(y, image.shape[2:]))
        return bce(self.conv(f'{name}.3', y), image)

    def aux_net(self, name: str, y: torch.Tensor, convolutions: int) -> torch.Tensor:
        """InfoPro's 'Ac2f'."""
        for i in range(convolutions):
            stride = 2 if i == 0 and y.shape[1] < 64 else 1
            y = self.layer(f'{name}.{3 * i}', f'{name}.{3 * i + 1}', y, stride)
        first = 3 * convolutions + 2
        hidden = self.linear(f'{name}.{first}', y.mean((2, 3))).relu()
        return self.linear(f'{name}.{first + 2}', hidden)

    def imagenet_decoder(self, name: str, y: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """InfoPro's decoder for ImageNet with its loss: every step doubles the side."""
        y, last = self.conv(f'{name}.0', y), 0
        while y.shape[2] < image.shape[2]:
            y = self.norm(f'{name}.{last + 1}', y).relu()
            last += 3
            y = self.conv(f'{name}.{last}', _resized(y, [2 * side for side in y.shape[2:]]))
        return bce(y, image)

    def imagenet_aux_net(self, name: str, y: torch.Tensor) -> torch.Tensor:
        """InfoPro's classifier for ImageNet."""
        for place, stride in ((0, 1), (3, 2), (6, 2), (9, 1)):
            y = self.layer(f'{name}.{place}', f'{name}.{place + 1}', y, stride)
        return self.linear(f'{name}.14', y.mean((2, 3)))


def _resized(x: torch.Tensor, size) -> torch.Tensor:
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)


def bce(logits: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of sigmoid(logits)."""
    p = logits.sigmoid()
    return -(image * p.log() + (1 - image) * (1 - p).log()).mean()


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy."""
    return -logits.log_softmax(1).gather(1, labels[:, None]).mean()


def contrast(outputs: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """The supervised contrastive loss; every class has two samples at least."""
    z = outputs / outputs.norm(dim=1, keepdim=True)
    losses = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        log_p = (z[others] @ z[i] / temperature).log_softmax(0)
        losses.append(-log_p[labels[others] == labels[i]].mean())
    return torch.stack(losses).mean()
