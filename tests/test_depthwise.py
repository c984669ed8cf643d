"""depthwise: gradients that are put together are those of torch, and a network stays what it was."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modelcommons.workbench.engine.depthwise import QuickDepthwise, gradient_by_filters, gradient_by_input, quicken


@settings(deadline=None)
@given(
    channels=st.integers(2, 5),
    filters=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    more=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    last=st.booleans(),
)
def test_gradients_of_any_shape_are_those_of_torch(
    channels: int,
    filters: tuple[int, int],
    more: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    last: bool,
) -> None:
    padding = (min(padding[0], filters[0] - 1), min(padding[1], filters[1] - 1))
    torch.manual_seed(0)
    x = torch.randn(3, channels, filters[0] + more[0], filters[1] + more[1], dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    weight = torch.randn(channels, 1, *filters, dtype=torch.float64)
    slope = torch.randn_like(torch.conv2d(x, weight, None, stride, padding, 1, channels))
    expected = torch.ops.aten.convolution_backward(
        slope, x, weight, None, stride, padding, (1, 1), False, (0, 0), channels, (True, True, False)
    )
    torch.testing.assert_close(gradient_by_input(slope, x, weight, stride, padding), expected[0])
    torch.testing.assert_close(gradient_by_filters(slope, x, weight, stride, padding), expected[1])


class Blocks(nn.Module):
    """What EfficientNet and ConvNeXt have of them, and layers that are left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, stride=2, padding="valid", groups=8, bias=False),
            nn.Conv2d(8, 8, 5, padding="same", groups=8, bias=False),
            nn.Conv2d(8, 8, 7, padding=3, groups=8),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),  # quick as it is
            nn.Conv2d(8, 8, 4, padding="same", groups=8),  # uneven
            nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8),
            nn.Conv2d(8, 8, 1, stride=2, padding=1, groups=8),  # sees more than there is
            nn.Conv2d(8, 16, 5, padding=2, groups=8),
            nn.Conv2d(16, 16, 5, padding=2, groups=16, padding_mode="reflect"),
        )

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layers(x)
        return made


QUICK = [1, 2, 3]  # of these layers


@pytest.mark.filterwarnings("ignore:Using padding=")  # torch, of the uneven one
def test_a_network_stays_what_it_was_but_for_its_slow_layers() -> None:
    network = Blocks()
    before = copy.deepcopy(network)
    quicken(network)
    assert [at for at, layer in enumerate(network.layers) if isinstance(layer, QuickDepthwise)] == QUICK
    assert list(network.state_dict()) == list(before.state_dict())
    x = torch.randn(2, 3, 25, 25)
    assert torch.equal(network(x), before(x))
    quicken(network)  # a second time changes nothing
    assert torch.equal(copy.deepcopy(network)(x), before(x))


@pytest.mark.filterwarnings("ignore:Using padding=")
@pytest.mark.parametrize("how", ["autocast", "bf16"])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_in_bf16_every_weight_learns_what_it_would_have(how: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = Blocks().to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(4, 3, 25, 25).to(memory_format=layout)
    exact = _gradients(copy.deepcopy(network).double(), x.double())
    if how == "bf16":
        network, x = network.bfloat16(), x.bfloat16()
    plain = copy.deepcopy(network)
    quicken(network)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        assert torch.equal(network(x), plain(x))
        for name, gradient in _gradients(network, x).items():
            assert gradient.dtype == (torch.bfloat16 if how == "bf16" else torch.float32)
            error = (gradient.double() - exact[name]).norm() / exact[name].norm()
            assert error < 0.05, f"{name}: {error}"


def _gradients(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    network(x).double().square().mean().backward()
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
