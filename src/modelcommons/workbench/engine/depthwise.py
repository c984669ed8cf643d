"""depthwise: convolutions with one filter a channel, whose gradients in bf16 torch is slow at on a CPU.

oneDNN has quick kernels for the gradient by the input where the stride is one, and for that by filters of up to 3 by
3 pixels; for others it falls back to its reference. Here these are put together from the quick ones
(benchmarks/open_pictures.py measures it).
"""

# B batch, C channels, H height, W width of what comes in; h, w of what goes out; M, N of the filter

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

QUICK = 3  # a side of the largest filter whose gradient is quick

Pair = tuple[int, int]


class QuickDepthwise(nn.Conv2d):
    """A depthwise convolution whose gradients are put together where that is quicker."""

    def forward(self, input: Tensor) -> Tensor:
        cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        in_bf16 = cast or input.dtype == torch.bfloat16
        if not (in_bf16 and input.ndim == 4 and input.device.type == "cpu" and torch.is_grad_enabled()):
            return super().forward(input)
        made: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.stride, _padding(self)
        )
        return made


def quicken(network: nn.Module) -> None:
    """Puts such layers into the place of torch's where these are slow; weights and their names stay as they are."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and type(layer).forward is nn.Conv2d.forward and _is_slow(layer):
            layer.__class__ = QuickDepthwise


def _is_slow(layer: nn.Conv2d) -> bool:
    one_each = layer.groups == layer.in_channels == layer.out_channels > 1
    even = layer.padding == "same" and any(side % 2 == 0 for side in layer.kernel_size)  # more on one side
    inside = all(before < side for before, side in zip(_padding(layer), layer.kernel_size, strict=True))
    plain = layer.padding_mode == "zeros" and max(layer.dilation) == 1 and inside and not even
    return one_each and plain and (max(layer.stride) > 1 or max(layer.kernel_size) > QUICK)


def _padding(layer: nn.Conv2d) -> Pair:
    """Rows and columns of zeros on each side."""
    match layer.padding:
        case "valid":
            return (0, 0)
        case "same":
            return (layer.kernel_size[0] // 2, layer.kernel_size[1] // 2)
        case (int(rows), int(columns)):
            return (rows, columns)
        case other:
            raise AssertionError(other)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        context: Any, x_BCHW: Tensor, filters_C1MN: Tensor, bias_C: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        context.save_for_backward(x_BCHW, filters_C1MN)
        context.stride, context.padding = stride, padding
        return torch.conv2d(x_BCHW, filters_C1MN, bias_C, stride, padding, 1, len(filters_C1MN))

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(context: Any, slope_BChw: Tensor) -> tuple[Tensor | None, ...]:
        x_BCHW, filters_C1MN = context.saved_tensors
        by_x, by_filters, by_bias = context.needs_input_grad[:3]
        how = (slope_BChw, x_BCHW, filters_C1MN, context.stride, context.padding)
        return (
            gradient_by_input(*how) if by_x else None,
            gradient_by_filters(*how) if by_filters else None,
            slope_BChw.sum((0, 2, 3)) if by_bias else None,
            None,
            None,
        )


def gradient_by_input(slope_BChw: Tensor, x_BCHW: Tensor, filters_C1MN: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """Of a depthwise convolution, (B, C, H, W).

    With a stride it is that of stride one, of a slope with zeros between its values, which is a convolution with the
    filters turned around.
    """
    if max(stride) == 1:
        return _gradients(slope_BChw, x_BCHW, filters_C1MN, stride, padding, by_input=True)
    sides = filters_C1MN.shape[2:]
    height, width = (
        size + 2 * around - side + 1 for size, around, side in zip(x_BCHW.shape[2:], padding, sides, strict=True)
    )
    shape = (*slope_BChw.shape[:2], height, width)
    spread = torch.empty(shape, dtype=slope_BChw.dtype, memory_format=_layout(x_BCHW)).zero_()
    spread[:, :, :: stride[0], :: stride[1]] = slope_BChw
    around = [side - 1 - before for side, before in zip(sides, padding, strict=True)]
    return torch.conv2d(spread, filters_C1MN.flip((2, 3)), None, 1, around, 1, len(filters_C1MN))


def gradient_by_filters(
    slope_BChw: Tensor, x_BCHW: Tensor, filters_C1MN: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    """Of a depthwise convolution, (C, 1, M, N): one quick piece of the filter after the other.

    A piece of a filter is the filter of a convolution itself, over what it alone sees of the input.
    """
    sides = filters_C1MN.shape[2:]
    if max(sides) <= QUICK:
        return _gradients(slope_BChw, x_BCHW, filters_C1MN, stride, padding, by_input=False)
    high, wide = (min(QUICK, side) for side in sides)
    seen = [
        step * (size - 1) + side for size, step, side in zip(slope_BChw.shape[2:], stride, (high, wide), strict=True)
    ]
    padded = pad(x_BCHW, (padding[1], padding[1], padding[0], padding[0]))
    found = torch.empty_like(filters_C1MN)
    for top in _places(sides[0]):
        for left in _places(sides[1]):
            piece = (..., slice(top, top + high), slice(left, left + wide))
            part = padded[:, :, top : top + seen[0], left : left + seen[1]].contiguous(memory_format=_layout(x_BCHW))
            filters = filters_C1MN[piece].contiguous()
            found[piece] = _gradients(slope_BChw, part, filters, stride, (0, 0), by_input=False)
    return found


def _places(side: int) -> list[int]:
    """Where quick pieces of a filter begin that together cover it; the last may overlap."""
    return [min(place, max(0, side - QUICK)) for place in range(0, side, QUICK)]


def _gradients(
    slope_BChw: Tensor, x_BCHW: Tensor, filters_C1MN: Tensor, stride: Pair, padding: Pair, *, by_input: bool
) -> Tensor:
    """As torch has them."""
    wanted = [by_input, not by_input, False]
    found = torch.ops.aten.convolution_backward(
        slope_BChw, x_BCHW, filters_C1MN, None, stride, padding, (1, 1), False, (0, 0), len(filters_C1MN), wanted
    )
    gradient: Tensor = found[0 if by_input else 1]
    return gradient


def _layout(x_BCHW: Tensor) -> torch.memory_format:
    last = x_BCHW.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
