"""optimizers: each step is torch's own where torch has it; Muon's is orthogonal; the state survives a checkpoint."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from modelcommons.workbench.engine.optimizers import Muon, Optimizers, orthogonal

Name = Literal["adamw", "sgd", "muon"]


def network() -> nn.Module:
    """An embedding, a hidden convolution and matrix, a normalisation, an output layer."""
    torch.manual_seed(0)
    return nn.ModuleDict({
        "embed": nn.Embedding(5, 6), "conv": nn.Conv1d(6, 4, 3), "middle": nn.Linear(4, 8), "norm": nn.LayerNorm(8),
        "head": nn.Linear(8, 3),
    })  # fmt: skip


def gradients(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], rtol=1e-5, atol=1e-6) for name in a)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_steps_are_those_of_torch_with_decay_on_matrices_only(name: Name) -> None:
    mine, theirs = network(), network()
    optimizers = Optimizers(mine, name, learning_rate=0.1, weight_decay=0.3, scales={"embed": 0.5})
    groups: list[dict[str, Any]] = [
        {"params": [weight], "weight_decay": 0.3 if weight.ndim >= 2 else 0.0, "lr": 0.05 if "embed" in key else 0.1}
        for key, weight in theirs.named_parameters()
    ]
    reference = AdamW(groups, betas=(0.9, 0.99)) if name == "adamw" else SGD(groups, 0.1, momentum=0.9, nesterov=True)
    rates = [group["lr"] for group in reference.param_groups]
    for step, factor in enumerate((0.1, 1.0, 0.5)):
        for model in (mine, theirs):
            gradients(model, step)
        for group, rate in zip(reference.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        optimizers.step(factor)
        reference.step()
        assert same(weights(mine), weights(theirs))


def test_momentum_is_as_it_was_asked_for() -> None:
    kept = [Optimizers(network(), name, 0.1, 0.0, {}, 0.6).parts[0].defaults["momentum"] for name in ("sgd", "muon")]
    usual = [Optimizers(network(), name, 0.1, 0.0, {}).parts[0].defaults["momentum"] for name in ("sgd", "muon")]
    assert (kept, usual) == ([0.6, 0.6], [0.9, 0.95])


def test_what_is_frozen_stays_and_what_has_no_gradient_waits() -> None:
    for name in ("adamw", "sgd", "muon"):
        model = network()
        model["middle"].weight.requires_grad = False
        optimizers = Optimizers(model, name, 0.1, 0.3, {})
        before = weights(model)
        gradients(model, 0)
        model["conv"].weight.grad = None
        optimizers.step(1.0)
        changed = {key for key, weight in weights(model).items() if not torch.equal(weight, before[key])}
        assert changed == before.keys() - {"middle.weight", "conv.weight"}
        optimizers.zero_grad()
        assert all(weight.grad is None for weight in model.parameters() if weight.requires_grad)


@pytest.mark.parametrize(
    ("shape", "off"), [((8, 8), 1e-3), ((3, 20), 1e-3), ((20, 3), 1e-3), ((1, 5), 1e-3), ((64, 16), 1e-3),
    ((130, 500), 0.05)],
)  # fmt: skip
def test_a_step_of_muon_has_singular_values_near_one_and_the_directions_of_the_gradient(
    shape: tuple[int, int], off: float
) -> None:
    """Of large matrices by products in bf16, which are right to three digits."""
    torch.manual_seed(1)
    matrix = 1000 * torch.randn(shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonal(matrix)
    turned = left.T @ made @ right.T  # in the gradient's own directions: diagonal
    values = turned.diagonal()
    assert made.shape == shape and made.dtype == torch.float32
    assert ((values > 0.6) & (values < 1.3)).all()
    assert (turned - values.diag()).abs().max() < off


def test_a_wide_matrix_is_made_orthogonal_as_any_other() -> None:
    """It goes by its Gram matrix; columns of zeros turn the same matrix into a wide one."""
    matrix = torch.randn(8, 10, generator=torch.Generator().manual_seed(2))
    wide = orthogonal(torch.cat([matrix, torch.zeros(8, 10)], dim=1))
    torch.testing.assert_close(wide[:, :10], orthogonal(matrix), rtol=1e-4, atol=1e-5)
    assert (wide[:, 10:] == 0).all()


def test_nothing_to_learn_is_no_step() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("shape", [(8, 4), (4, 8), (6, 2, 3)])
def test_a_step_of_muon_is_as_long_as_its_paper_says(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.ones(shape))
    weight.grad = torch.randn(shape)
    Muon([weight], lr=0.1, weight_decay=0.2).step()
    step = (1 - 0.1 * 0.2) - weight.detach().reshape(shape[0], -1)  # 1, decayed, less what is left
    stretch = max(1.0, shape[0] / (weight.numel() // shape[0])) ** 0.5
    # the first average is 0.05 of the gradient, Nesterov's 0.0975: of the same direction as the gradient
    expected = 0.1 * stretch * orthogonal(weight.grad.reshape(shape[0], -1))
    assert torch.allclose(step, expected, atol=1e-5)


def test_muon_remembers_where_it_was_going() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = Muon([weight], lr=0.1, momentum=0.9)
    average = torch.zeros(2, 2)
    for gradient in (torch.eye(2), torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.eye(2)):
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimizer.step()
        average = 0.9 * average + 0.1 * gradient
        expected = 0.1 * orthogonal(0.1 * gradient + 0.9 * average)
        assert torch.allclose(before - weight.detach(), expected, atol=1e-6)


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    model = network()
    muon, adamw = Optimizers(model, "muon", 0.01, 0.1, {"middle": 0.5}).parts
    names = {id(weight): name for name, weight in model.named_parameters()}
    taken = {names[id(weight)]: group["lr"] for group in muon.param_groups for weight in group["params"]}
    assert isinstance(muon, Muon) and isinstance(adamw, AdamW)
    assert taken == pytest.approx({"conv.weight": 0.1, "middle.weight": 0.05})
    rest = {names[id(weight)] for group in adamw.param_groups for weight in group["params"]}
    assert rest == weights(model).keys() - taken.keys()


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_the_state_taken_back_gives_the_same_bits(name: Name) -> None:
    model = network()
    optimizers = Optimizers(model, name, 0.1, 0.1, {})
    for step in range(3):
        gradients(model, step)
        optimizers.step(1.0)
    saved, before = {key: value.clone() for key, value in optimizers.state().items()}, weights(model)
    again = network()
    again.load_state_dict(before)
    resumed = Optimizers(again, name, 0.1, 0.1, {})
    resumed.load(saved)
    for step in range(3, 6):
        for each, optimizer in ((model, optimizers), (again, resumed)):
            gradients(each, step)
            optimizer.step(0.5)
    assert all(torch.equal(weights(model)[key], weights(again)[key]) for key in before)
    assert all(key.rsplit("/", 1)[0] in before for key in saved)
