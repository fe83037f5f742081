"""The networks that rebuild an image from a feature map, for InfoPro."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn


class ResizedConv2d(nn.Conv2d):
    """A convolution of the bilinearly resized input (``align_corners=True``).

    Resizing is linear in the pixels and the convolution in the channels, so
    their order is free but for rounding. For a 3 x 3 kernel 'factored' mixes
    channels at the small size, once per tap, and then applies resize and shift
    of each axis as one small matrix: the resized input, ``in_channels`` maps of
    the large size, is never made. For a 1 x 1 kernel it convolves, then
    resizes. Where factoring would cost more arithmetic than it saves, and where
    the sizes are equal, the convolution is computed as usual.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int): 1 or 3, padded to keep the size.
        size (tuple[int, int]): (H, W) of the output.
        factored (bool): Whether to use the other order where it pays.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        size: tuple[int, int],
        factored: bool,
    ):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.size = tuple(size)
        self.factored = factored

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, h, w) to (N, out_channels, H, W)."""
        if tuple(x.shape[2:]) == self.size:
            return super().forward(x)
        if self.factored and self.kernel_size == (1, 1):
            return resized(super().forward(x), self.size)
        if self.factored and self._pays(*x.shape[2:]):
            return self._factored(x)
        return super().forward(resized(x, self.size))

    def _pays(self, h: int, w: int) -> bool:
        """Whether factoring takes fewer multiplications."""
        height, width = self.size
        usual = self.in_channels * height * width * (9 * self.out_channels + 4)
        mixing = self.in_channels * 9 * h * w
        spreading = 9 * h * w * height + 3 * w * height * width
        return self.out_channels * (mixing + spreading) < usual

    def _factored(self, x: torch.Tensor) -> torch.Tensor:
        count, _, h, w = x.shape
        height, width = self.size
        outs = self.out_channels
        # One 1 x 1 convolution per tap; taps in the order (x, y).
        taps = self.weight.permute(0, 3, 2, 1).reshape(9 * outs, self.in_channels, 1, 1)
        z = F.conv2d(x, taps).reshape(count, outs, 3, 3 * h, w)
        z = z.transpose(3, 4) @ _resize_and_shift(h, height, x)
        z = z.permute(0, 1, 4, 2, 3).reshape(count, outs, height, 3 * w)
        return z @ _resize_and_shift(w, width, x) + self.bias.view(-1, 1, 1)


def resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear resize, corners aligned; at its own size the input itself."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


def _resize_and_shift(small: int, large: int, like: torch.Tensor) -> torch.Tensor:
    """Linear resize of one axis, seen by each of three taps, (3 * small, large); made once."""
    # Fake tensors, those inside a graph and those of inference mode are of no use to other calls.
    passing = torch.compiler.is_compiling() or torch.is_inference_mode_enabled()
    make = _matrix if passing or type(like) is not torch.Tensor else _kept_matrix
    return make(small, large, like.device, like.dtype)


@torch.no_grad()
def _matrix(small: int, large: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    eye = torch.eye(small, device=device, dtype=dtype)
    matrix = F.interpolate(eye[:, None], large, mode='linear', align_corners=True)[:, 0]
    padded = F.pad(matrix, (1, 1))
    return torch.cat([padded[:, tap : tap + large] for tap in range(3)])


_kept_matrix = cache(_matrix)


class ImageDecoder(nn.Module):
    """Rebuild the image from a feature map (InfoPro, ICLR 2021, for CIFAR).

    Bilinear resize to the image's size, 3 x 3 convolution to 12 channels times
    ``widen``, BatchNorm, ReLU, 3 x 3 convolution to the image's channels.

    Args:
        channels (int): C of the features.
        image_shape (tuple[int, int, int]): (C, H, W) of the image.
        widen (float): Factor on the hidden width.
        order (str): 'resize_first', as described; 'factored', the same
            function with less arithmetic and memory (:class:`ResizedConv2d`);
            or 'conv_first', another, cheaper network: the first convolution,
            BatchNorm and ReLU come before the resize.
    """

    def __init__(self, channels: int, image_shape: tuple[int, int, int], widen: float, order: str):
        super().__init__()
        size = tuple(image_shape[1:])
        hidden = int(12 * widen)
        factored = order != 'resize_first'
        first = (
            nn.Conv2d(channels, hidden, 3, padding=1)
            if order == 'conv_first'
            else ResizedConv2d(channels, hidden, 3, size, factored)
        )
        self.decoder = nn.Sequential(
            first,
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            ResizedConv2d(hidden, image_shape[0], 3, size, factored),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of the image's values in [0, 1], (N, C, H, W)."""
        return self.decoder(features)


class ImageNetDecoder(nn.Module):
    """Rebuild a large image from a feature map (InfoPro, ICLR 2021, for ImageNet).

    A 1 x 1 convolution, then the side is doubled until it is the image's, each
    time by a bilinear resize and a convolution; BatchNorm and ReLU after all
    but the last. InfoPro gives the widths for 512 channels at an eighth of the
    side and 1024 at a sixteenth; those of other features follow the rule that
    has both: C channels become 64 + C / 8 first; after the resize to 1 / 2^j of
    the side come 2^(j + 3) channels by a 1 x 1 convolution for j >= 3, and by
    3 x 3 ones 32 for j = 2, 12 for j = 1, the image's channels for j = 0.

    Args:
        feature_shape (tuple[int, int, int]): (C, H, W) of the features.
        image_shape (tuple[int, int, int]): (C, H, W) of the image.
        order (str): 'resize_first', as described, or 'factored', the same
            function with less arithmetic and memory (:class:`ResizedConv2d`).
    """

    def __init__(
        self,
        feature_shape: tuple[int, int, int],
        image_shape: tuple[int, int, int],
        order: str,
    ):
        super().__init__()
        channels, height, width = image_shape
        inputs, features_height, _ = feature_shape
        doublings = max(round(height / features_height), 1).bit_length() - 1
        outputs = 64 + inputs // 8
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1)]
        for j in reversed(range(max(doublings, 1))):
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs, outputs = outputs, {0: channels, 1: 12, 2: 32}.get(j, 2 ** (j + 3))
            size = (-(-height // 2**j), -(-width // 2**j))
            kernel = 1 if j > 2 else 3
            layers.append(ResizedConv2d(inputs, outputs, kernel, size, order == 'factored'))
        self.decoder = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of the image's values in [0, 1], (N, C, H, W)."""
        return self.decoder(features)
