"""several processes that train one model: what comes out is what one process makes of it, and it goes on in any number.

The processes are forks with torchrun's variables; that torchrun itself starts them is tried once.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modelcommons import cli
from modelcommons.workbench import fields
from modelcommons.workbench.engine import ranks
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.train import Mean, train
from modelcommons.workbench.engine.training import Defaults, Training

ROWS = 21
PATIENCE_S = 120
PRELOADED = (
    "torch._dynamo", "torch.distributed", "matplotlib.pyplot", "matplotlib.backends.backend_svg", "jinja2", "sklearn",
    "huggingface_hub", "modelcommons.workbench.run", "modelcommons.cli.commands",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def preloaded() -> None:
    """What the processes import: once here, not in every fork."""
    for module in PRELOADED:
        importlib.import_module(module)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def together(count: int, work: Callable[[], None]) -> list[int]:
    """Does it in so many processes that torchrun might have started; their exit codes."""
    here = {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    def one(rank: int) -> None:
        os.environ.update(here, WORLD_SIZE=str(count), RANK=str(rank), LOCAL_RANK=str(rank))
        torch.set_num_threads(1)
        try:
            work()
        except SystemExit as ended:
            os._exit(int(ended.code or 0))
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)

    processes = [multiprocessing.get_context("fork").Process(target=one, args=(rank,)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert None not in codes, "a process waits for ever"
    return [code for code in codes if code is not None]


# --- the loop -------------------------------------------------------------------------------------------------------


def regression(
    folder: Path, dies_at: int = 0, over: str = "rows", average: float | None = None, **wish: Any
) -> Callable[[], None]:
    """A training that leaves the weights that did best in `folder/best-<rank>`; all die at batch `dies_at`.

    Args:
        over: what the loss is a mean over: rows, words (of which rows have not the same many), or answers; or it is
            one of each row.
    """

    def work() -> None:
        ranks.join()
        torch.manual_seed(0)
        network = Layers([nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 1), nn.Linear(3, 3)])
        x = torch.from_numpy(np.random.default_rng(1).normal(size=(ROWS, 6)).astype(np.float32))
        y = x.sum(1, keepdim=True)
        seen = 0

        def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            nonlocal seen
            seen += 1
            if seen == dies_at:
                os._exit(9)
            assert hasattr(network[0].weight, "device_mesh") == (wish.get("shard", False) and ranks.count() > 1)
            return x[indices], y[indices]

        def loss(network: Layers, made: tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor] | Mean:
            if over in ("rows", "each row"):
                reduction = "none" if over == "each row" else "mean"
                return nn.functional.mse_loss(network.answers(made[0])[:, 0], made[1][:, 0], reduction=reduction)
            squares = (words(made) * (network.answers(made[0]) - made[1]) ** 2).sum()
            return (squares,) if over == "words" else Mean(squares, words(made).sum())

        def words(made: tuple[Tensor, Tensor]) -> Tensor:
            return (made[1].abs() * 2).round()

        def score(network: Layers) -> float:
            assert ranks.leads() or wish.get("shard")
            return float(nn.functional.mse_loss(network.answers(x), y))

        train(
            network, num_rows=ROWS, batch=batch, loss=loss, score=score, metric="mse", direction="lower", limit=0.0,
            counts=(lambda made: float(words(made).sum()),) if over == "words" else (),
            training=Training(**{"precision": "fp32", "checkpoint_seconds": 0, **wish}),
            defaults=Defaults(epochs=4, batch_size=4, learning_rate=0.02), seed=0,
            checkpoints=folder / "checkpoints", progress=Silent(), average=average,
        )  # fmt: skip
        assert type(network[0]) is nn.Linear and type(network[0].weight) is nn.Parameter
        folder.mkdir(exist_ok=True)
        save_file(network.state_dict(), folder / f"best-{ranks.rank()}")

    return work


class Layers(nn.ModuleList):
    """Linear layers, of which the last is never used: it has no gradient anywhere, and must not decay."""

    _no_split_modules = ("Linear",)

    def answers(self, x: Tensor) -> Tensor:
        for layer in self[:-2]:
            x = layer(x).relu()
        return self[-2](x)


def same(one: Path, other: Path) -> bool:
    mine, theirs = load_file(one), load_file(other)
    return all(torch.allclose(mine[name], theirs[name], rtol=1e-3, atol=1e-5) for name in theirs)


def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    """Of 21 rows in fours the last batch is one row: the second process has none of it."""
    ways: dict[str, dict[str, Any]] = {
        "rows": {}, "words": {"over": "words"}, "answers": {"over": "answers"},
        "rows but easy ones": {"over": "each row", "skip_easy": 0.5},
        "shards": {"shard": True, "average": 0.5},
        "shards, rows but easy ones": {"shard": True, "over": "each row", "skip_easy": 0.5, "accumulate": 2},
        "shards of muon": {"shard": True, "over": "answers", "optimizer": "muon", "accumulate": 2},
    }  # fmt: skip

    def work() -> None:
        for name, wish in ways.items():
            regression(tmp_path / f"{name}-{ranks.count()}", **wish)()

    assert together(1, work) == [0]
    assert together(2, work) == [0, 0]
    for name in ways:
        for rank in range(2):
            assert same(tmp_path / f"{name}-2/best-{rank}", tmp_path / f"{name}-1/best-0"), name
    for name in ("words", "rows but easy ones"):
        assert not same(tmp_path / "rows-1/best-0", tmp_path / f"{name}-1/best-0")


@pytest.mark.parametrize(("first", "second", "shard"), [(2, 1, True), (1, 3, False), (1, 3, True)])
def test_it_goes_on_in_another_number_of_processes(tmp_path: Path, first: int, second: int, shard: bool) -> None:
    for name in ("alone", "killed"):
        (tmp_path / name).mkdir()
    wish: dict[str, Any] = {"shard": shard, "average": 0.5 if shard else None}
    wish |= {"over": "each row", "skip_easy": 0.5}  # what is known of the rows goes on too
    assert together(1, regression(tmp_path / "alone", **wish)) == [0]
    assert 9 in together(first, regression(tmp_path / "killed", dies_at=9, **wish))
    assert together(second, regression(tmp_path / "killed", dies_at=20, **wish)) == [0] * second  # fewer are left
    assert same(tmp_path / "killed/best-0", tmp_path / "alone/best-0")


def test_the_others_end_when_one_dies(tmp_path: Path) -> None:
    def work() -> None:
        regression(tmp_path, dies_at=5 * ranks.rank())()

    first, second = together(2, work)
    assert (first, second) == (70, 9)


def test_a_process_that_sees_other_checkpoints_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert together(1, regression(tmp_path, dies_at=9)) == [9]
    (tmp_path / "elsewhere").mkdir()

    def work() -> None:
        regression(tmp_path / "elsewhere" if ranks.rank() else tmp_path)()

    assert together(2, work) == [70, 70]
    assert "does not see the same" in capfd.readouterr().err


def test_without_torchrun_others_variables_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "3")
    assert (ranks.count(), ranks.rank(), ranks.leads()) == (1, 0, True)


# --- a whole run ----------------------------------------------------------------------------------------------------

RECIPE = """
task: text-classification
model: {new: bag, options: {buckets: 1024, dropout: 0.0}}
data: {source: ./texts.csv, license: cc0-1.0}
tune: {epochs: 3, batch_size: 8, precision: fp32}
explain: {examples: 0}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [f"{word} {number},{word}s" for number in range(40) for word in ("cat", "dog", "owl")]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_in_two_processes_is_one_run(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert together(1, lambda: cli.main(["run", "recipe.yaml", "--folder", "alone"])) == [0]
    alone = capfd.readouterr()
    assert together(2, lambda: cli.main(["run", "recipe.yaml", "--folder", "both"])) == [0, 0]
    both = capfd.readouterr()
    assert both.out == alone.out.replace("alone", "both")  # the scores, once
    assert both.err.count("evaluate") == 1
    assert len(list((place / "both/model/receipts").glob("*.json"))) == 1
    assert '"processes": 2' in (place / "both/tune/done.json").read_text()
    assert sorted(path.name for path in place.iterdir()) == ["alone", "both", "recipe.yaml", "texts.csv"]
    # what is finished is not trained again, and nobody waits
    assert together(2, lambda: cli.main(["run", "recipe.yaml", "--folder", "both"])) == [0, 0]


def test_a_network_whose_channels_lie_last_is_divided_too(place: Path) -> None:
    fields.find("image-classification").tiny(place / "pictures")
    (place / "pictures.yaml").write_text(
        "task: image-classification\nmodel: {new: cnn, options: {widths: [8, 16]}}\nexplain: {examples: 0}\n"
        "data: {source: ./pictures, license: cc0-1.0}\ntune: {epochs: 1, batch_size: 32, shard: true}\n"
    )
    assert together(2, lambda: cli.main(["run", "pictures.yaml", "--folder", "both"])) == [0, 0]


def test_what_is_refused_is_refused_once(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "texts.csv").write_text("number\n1\n")
    codes = together(2, lambda: cli.main(["run", "recipe.yaml", "--folder", "both"]))
    assert codes[0] == 2 and codes[1] != 0
    assert capfd.readouterr().err.count("Expected a column of texts") == 1
    assert together(2, lambda: cli.main(["run", "recipe.yaml", "tune.epoch=2"])) == [2, 2]
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(
    "COMMONS_TEST_LONG" not in os.environ, reason="three processes that import torch; COMMONS_TEST_LONG=1 runs it"
)
def test_torchrun_starts_it(place: Path) -> None:
    command = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "modelcommons.cli", "run", "recipe.yaml"]
    done = subprocess.run([sys.executable, *command, "--json"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"published"') == 1
