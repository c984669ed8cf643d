"""airbench: a convolutional net for few passes, whose first layer is computed from the training pictures."""

# B batch, C channels, H height, W width, P patches, K values of one patch

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from modelcommons.workbench.engine.cnn import Residual

NOISE = 5e-4  # added to the variance of each direction, so that those that hardly vary are not blown up


class Airbench(nn.Module):
    """A whitening layer, stages that halve the picture, the maximum over all places.

    Source: Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv:2404.00498, section 3. Unlike there widths,
    depth, patch and stride are free, pictures may have any size, and ReLU stands for GELU.
    """

    def __init__(
        self,
        channels: int,
        num_labels: int,
        widths: Sequence[int],
        depth: int,
        patch: int,
        stride: int,
        residual: bool,
        views: int,
    ) -> None:
        super().__init__()
        self.views = views  # when not training: as `views_of` has them
        self.whitening = nn.Conv2d(channels, 2 * channels * patch**2, patch, stride, bias=False).requires_grad_(False)
        self.stages = nn.Sequential(*[
            _stage(inside, outside, depth, residual)
            for inside, outside in itertools.pairwise((self.whitening.out_channels, *widths))
        ])  # fmt: skip
        self.head = nn.Linear(widths[-1], num_labels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training:
            return self._logits(x_BCHW)
        parts = [share * self._logits(view) for share, view in views_of(x_BCHW, self.views)]
        return torch.stack(parts).sum(0)  # (B, labels)

    def _logits(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.stages(self.whitening(x_BCHW).relu())
        logits: Tensor = self.head(x_BCHW.amax((2, 3)))
        return logits

    @torch.no_grad()
    def whiten(self, x_BCHW: Tensor) -> None:
        """Sets the first layer: on patches of these pictures half of its channels are uncorrelated, with variance 1.

        The other half is the same with the other sign, since no ReLU lets through what is negative. It is not trained.
        """
        size = self.whitening.kernel_size
        x_PK = unfold(x_BCHW, size, stride=size).transpose(1, 2).flatten(0, 1).double()
        variances, directions_KK = torch.linalg.eigh(torch.cov(x_PK.T))
        filters_KK = (directions_KK / (variances + NOISE).sqrt()).T
        self.whitening.weight.copy_(torch.cat([filters_KK, -filters_KK]).reshape(self.whitening.weight.shape))


def views_of(x_BCHW: Tensor, views: int) -> Iterator[tuple[float, Tensor]]:
    """How much each view counts, and the view.

    One: the picture. Two: its mirror image too. Six: both also a pixel up and left, and a pixel down and right, which
    count half, the border repeated outwards (section 3.5 of the paper).
    """
    shifted = [x_BCHW]
    if views == 6:
        around = pad(x_BCHW, (1, 1, 1, 1), "replicate")
        shifted += [around[:, :, 2:, 2:], around[:, :, :-2, :-2]]
    sides = min(views, 2)
    for at, view in enumerate(shifted):
        share = 1.0 if len(shifted) == 1 else 0.25 if at else 0.5
        yield share / sides, view
        if sides == 2:
            yield share / sides, view.flip(3)


class Convolution(nn.Conv2d):
    """3 x 3 pixels; begins as the identity on the channels that come in.

    Its weights are brought to one length before every step, so that a step of unit size turns them equally far
    throughout. What they are scaled by does not matter to the batch normalisation behind.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(inside, outside, 3, padding=1, bias=False)
        nn.init.dirac_(self.weight.data[:inside])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.weight.mul_(len(self.weight) ** 0.5 / self.weight.norm())
        return super().forward(x_BCHW)


def _stage(inside: int, outside: int, depth: int, residual: bool) -> nn.Sequential:
    """`depth` layers, of which the first halves; the others may add to what comes in (section 4 of the paper)."""
    others = [_layer(outside, outside, pool=False) for _ in range(depth - 1)]
    return nn.Sequential(_layer(inside, outside, pool=True), *[Residual(each) if residual else each for each in others])


def _layer(inside: int, outside: int, pool: bool) -> nn.Sequential:
    """Convolution, halving where asked, batch normalisation, ReLU."""
    halving = [nn.MaxPool2d(2, ceil_mode=True)] if pool else []
    normalised = nn.BatchNorm2d(outside)
    normalised.weight.requires_grad_(False)  # only shifts are learned
    return nn.Sequential(Convolution(inside, outside), *halving, normalised, nn.ReLU())
