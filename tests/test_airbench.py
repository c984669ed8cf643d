"""airbench: its first layer whitens, its convolutions keep their length, pictures may have any size, also in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modelcommons.errors import DataError
from modelcommons.formats.pixels import Shape
from modelcommons.workbench.engine.augment import windows
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.quantize import export, session
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields import find
from modelcommons.workbench.fields.image.airbench import Airbench, Convolution
from modelcommons.workbench.fields.image.architectures import AirbenchOptions
from modelcommons.workbench.fields.image.classifier import logits_only
from modelcommons.workbench.fields.image.fitting import fit
from modelcommons.workbench.fields.image.models import build
from modelcommons.workbench.fields.image.rows import Options, Pictures
from modelcommons.workbench.task import Choice, Job


def network(**options: object) -> Airbench:
    torch.manual_seed(0)
    made = build(AirbenchOptions.model_validate({"widths": [8, 12], **options}), Shape(12, 12, 3), 4)
    assert isinstance(made, Airbench)
    return made


def smooth(num: int, side: int) -> Tensor:
    """Pictures whose neighbouring pixels are much alike, (num, 3, side, side)."""
    noise = torch.randn(num, 3, side + 4, side + 4, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.avg_pool2d(noise, 5, 1) + 0.1 * noise[..., 2:-2, 2:-2]


def test_half_of_the_first_layer_is_white_and_the_other_half_its_opposite() -> None:
    pictures = smooth(400, 12)
    made = network(patch=3, stride=3)
    made.whiten(pictures)
    with torch.no_grad():
        x = made.whitening(pictures).transpose(0, 1).flatten(1)  # (channels, patches)
    half = len(x) // 2
    assert half == 27 and torch.equal(x[half:], -x[:half])
    covariance = torch.cov(x[:half].double())
    assert (covariance - torch.diag(covariance.diag())).abs().max() < 1e-3
    assert covariance.diag().min() > 0.9 and covariance.diag().max() <= 1 + 1e-6
    assert (
        torch.cov(pictures.unfold(2, 3, 3).unfold(3, 3, 3).permute(1, 4, 5, 0, 2, 3).flatten(0, 2).flatten(1)).max()
        < 0.5
    )


def test_convolutions_begin_as_identities_and_keep_their_length_while_training() -> None:
    layer = Convolution(4, 6)
    pictures = smooth(2, 8)[:, [0, 1, 2, 0]]
    layer.eval()
    torch.testing.assert_close(layer(pictures)[:, :4], pictures)
    layer.train()
    layer.weight.data *= 7
    layer(pictures)
    assert layer.weight.norm().item() == pytest.approx(6**0.5, rel=1e-5)


def test_answers_are_means_over_views() -> None:
    pictures, plain = smooth(3, 12), network().eval()
    two, six = (network(views=views).eval() for views in (2, 6))
    around = torch.nn.functional.pad(pictures, (1, 1, 1, 1), "replicate")
    moved = (around[:, :, 2:, 2:], around[:, :, :12, :12])
    with torch.no_grad():
        both = (plain(pictures) + plain(pictures.flip(3))) / 2
        torch.testing.assert_close(two(pictures), both)
        torch.testing.assert_close(six(pictures), both / 2 + (two(moved[0]) + two(moved[1])) / 4)


def test_what_follows_the_first_layer_of_a_stage_adds_to_what_comes_in() -> None:
    plain, adding = network(depth=3).eval(), network(depth=3, residual=True).eval()
    layers = [list(stage) for stage in plain.stages]
    adding.load_state_dict(
        dict(zip(adding.state_dict(), plain.state_dict().values(), strict=True))  # the same layers in the same order
    )
    x = plain.whitening(smooth(2, 12)).relu()
    with torch.no_grad():
        for first, *others in layers:
            x = first(x)
            for layer in others:
                x = x + layer(x)
        torch.testing.assert_close(adding.stages(adding.whitening(smooth(2, 12)).relu()), x)


def test_pictures_of_any_size_are_taken_and_the_export_gives_the_same(tmp_path: Path) -> None:
    made = network(views=6, depth=3, residual=True).eval()
    for side in (4, 7, 12, 33):
        assert made(smooth(2, side)).shape == (2, 4)
    pictures = smooth(3, 12)
    export(
        logits_only(made),
        {"pixel_values": pictures},
        ["logits"],
        {"pixel_values": {0: "batch"}},
        tmp_path / "model.onnx",
    )
    answered = session(tmp_path / "model.onnx").run({"pixel_values": pictures.numpy()})[0]
    np.testing.assert_allclose(answered, made(pictures).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_windows_are_squares_of_their_pictures() -> None:
    pictures = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(60):
        for picture, square in zip(pictures, windows(pictures, 4, rng), strict=True):
            found = [
                (y, x) for y in range(3) for x in range(2) if np.array_equal(picture[y : y + 4, x : x + 4], square)
            ]
            assert len(found) == 1
            seen.update(found)
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("name", "size", "words"), [("linear", 6, "any size, got linear"), ("cnn", 8, "less than the pictures' 8")]
)
def test_an_early_size_that_cannot_be_is_refused(name: str, size: int, words: str, tmp_path: Path) -> None:
    rows = Pictures(np.zeros((20, 8, 8, 3), np.uint8), np.arange(20) % 2, ("a", "b"), [str(n) for n in range(20)], None)
    job = Job(
        Choice(None, name, {}), Training(), Options(early_size=size), 0, tmp_path, tmp_path / "checkpoints", Silent()
    )
    with pytest.raises(DataError, match=words):
        fit(rows, rows, job)
    assert find("image-classification").architectures[name]
