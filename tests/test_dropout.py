"""dropout: as many numbers are dropped as was asked, the mean stays, and a seed repeats it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modelcommons.workbench.engine.dropout import QuickDropout, quicken


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_so_many_numbers_are_dropped_as_was_asked(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    made = QuickDropout(share)(torch.ones(333, 301, dtype=dtype))
    assert made.dtype == dtype and made.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=4e-3)
    error = 4 * (share * (1 - share) / made.numel()) ** 0.5  # of a share of so many
    assert (made == 0).double().mean().item() == pytest.approx(share, abs=error)
    columns = (made == 0).double().reshape(-1, 301).mean(0)
    assert (columns - share).abs().max() < 6 * (share * (1 - share) / 333) ** 0.5, "wherever they stand"


def test_a_seed_repeats_it_and_what_is_dropped_learns_nothing() -> None:
    network, found = QuickDropout(0.3), []
    for _ in range(2):
        torch.manual_seed(1)
        given = torch.ones(5, 7, requires_grad=True)
        made = network(given)
        made.sum().backward()
        assert given.grad is not None and torch.equal(given.grad, made.detach())
        found.append(made.detach())
    assert torch.equal(*found) and not torch.equal(found[0], network(torch.ones(5, 7)))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_and_everything_are_dropped_as_torch_does(share: float) -> None:
    given = torch.ones(3, 3)
    assert torch.equal(QuickDropout(share)(given), nn.Dropout(share)(given))


def test_it_takes_the_place_of_torchs_and_is_silent_when_a_model_answers() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.1)))
    names = list(network.state_dict())
    quicken(network)
    found = [module.p for module in network.modules() if isinstance(module, QuickDropout)]
    assert found == [0.5, 0.1] and list(network.state_dict()) == names
    given = torch.randn(4, 2)
    assert torch.equal(network.eval()(given), network[0](given))
