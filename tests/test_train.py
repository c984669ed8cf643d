"""the training loop, on problems small enough to know the answer; time is a clock that the test moves."""

from __future__ import annotations

import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from modelcommons.errors import BudgetReached, DataError, RecipeError, Stopped
from modelcommons.workbench.engine import device, fan_out, pace, schedule
from modelcommons.workbench.engine import train as loop
from modelcommons.workbench.engine.optimizers import Optimizers
from modelcommons.workbench.engine.passes import Passes
from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.schedule import Plan, factor
from modelcommons.workbench.engine.train import Mean, train
from modelcommons.workbench.engine.training import Defaults, Fit, Point, Training
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.tune import Tuned, Tuning, tune

ROWS, WIDTH = 42, 6
DEFAULTS = Defaults(epochs=4, batch_size=16, learning_rate=0.02)
OPTIMIZERS = ("adamw", "sgd", "muon")


@dataclass
class Clock:
    """Seconds pass when somebody says so."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Problem:
    """A regression; `each` is called before every batch with its number, `scores` replaces the validation metric."""

    checkpoints: Path
    each: Callable[[int], None] = lambda number: None
    scores: Iterator[float] | None = None
    num_batches: int = 0
    early: list[int] = field(default_factory=list)  # how many batches there were before each early one
    scored: list[dict[str, Tensor]] = field(default_factory=list)  # the weights at every scoring

    def network(self, dropout: bool = True) -> nn.Sequential:
        torch.manual_seed(0)
        middle = [nn.BatchNorm1d(8), nn.Dropout(0.3)] if dropout else []
        return nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), *middle, nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))

    def train(self, network: nn.Module, seed: int = 0, **wish: Any) -> Fit:
        rng = np.random.default_rng(1)
        x = torch.from_numpy(rng.normal(size=(ROWS, WIDTH)).astype(np.float32))
        y = x.sum(1, keepdim=True)

        def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            self.num_batches += 1
            self.each(self.num_batches)
            noise = rng.normal(size=(len(indices), WIDTH)) * self.noise  # augmentation, from the generator handed in
            return x[indices] + torch.from_numpy(noise.astype(np.float32)), y[indices]

        def cheaper(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            self.early.append(self.num_batches)
            made = batch(indices, rng)
            return made[0] / 2, made[1]

        def loss(network: nn.Module, made: tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor, ...] | Mean:
            self.autocast = torch.is_autocast_enabled("cpu")
            if self.over in ("rows", "each row"):
                squares = nn.functional.mse_loss(network(made[0]).float(), made[1], reduction="none")[:, 0]
                return squares if self.over == "each row" else squares.mean()
            errors = (network(made[0]) - made[1])[:, 0]
            squares, far = (words(made) * errors**2).sum(), (frames(made) * errors.abs()).sum()
            return (squares, far) if self.over == "words and frames" else Mean(squares, words(made).sum())

        def score(network: nn.Module) -> float:
            assert not network.training and torch.is_inference_mode_enabled()
            self.scored.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
            return next(self.scores) if self.scores else float(nn.functional.mse_loss(network(x), y))

        parts = (lambda made: words(made).sum(), lambda made: frames(made).sum())
        counts = parts if self.over == "words and frames" else ()
        beside = {name: wish.pop(name) for name in ("seconds", "max_steps", "average", "lengths") if name in wish}
        share = wish.pop("early", None)
        beside["early"] = None if share is None else (share, cheaper)
        return train(
            network, num_rows=ROWS, batch=batch, loss=loss, counts=counts, score=score, metric="mse",
            direction="lower", limit=0.0, training=Training(**{"precision": "fp32", **wish}), defaults=DEFAULTS,
            seed=seed, checkpoints=self.checkpoints, progress=Silent(), **beside,
        )  # fmt: skip

    noise: float = 0.0
    autocast: bool = False
    over: str = "rows"  # what the loss is a mean over


def words(made: tuple[Tensor, Tensor]) -> Tensor:
    """Of each row of a batch, from none to six."""
    return (made[1][:, 0].abs() * 2).round().clamp(max=6)


def frames(made: tuple[Tensor, Tensor]) -> Tensor:
    return (made[1][:, 0] > 1).float()


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    return Problem(tmp_path / "checkpoints")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (loop, pace):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step, as a share of the peak."""
    seen: list[float] = []
    step = Optimizers.step
    monkeypatch.setattr(Optimizers, "step", lambda self, rate: (seen.append(rate), step(self, rate))[1])
    return seen


def weights(network: nn.Module) -> list[bytes]:
    return [tensor.detach().numpy().tobytes() for tensor in network.state_dict().values()]


# --- one step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "over"),
    [
        *((name, "rows") for name in OPTIMIZERS),
        *(("sgd", over) for over in ("each row", "words and frames", "answers")),
    ],
)
def test_accumulated_batches_are_one_large_batch(problem: Problem, optimizer: str, over: str) -> None:
    """42 rows: the last step of an epoch has fewer rows, and its last batch fewer still; some rows have more words."""
    problem.over = over
    large, small = problem.network(dropout=False), problem.network(dropout=False)
    whole = problem.train(large, batch_size=16, optimizer=optimizer)
    parts = problem.train(small, batch_size=4, accumulate=4, optimizer=optimizer)
    assert (whole.steps, whole.epochs) == (parts.steps, parts.epochs) == (12, 4.0)
    losses = [[point.train_loss for point in fit.curve] for fit in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for one, other in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip", [0.0, 0.25])
def test_the_gradient_is_clipped_to_the_norm_asked_for(problem: Problem, clip: float) -> None:
    """SGD's first step with Nesterov momentum 0.9 is 1.9 times the gradient."""
    network = problem.network(dropout=False)
    before = torch.cat([weight.detach().flatten() for weight in network.parameters()])
    plain = {"optimizer": "sgd", "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "learning_rate": 0.01}
    problem.train(network, batch_size=ROWS, epochs=1, clip=clip, **plain)
    moved = (torch.cat([weight.detach().flatten() for weight in network.parameters()]) - before).norm() / (0.01 * 1.9)
    assert moved.item() == pytest.approx(0.25, rel=1e-4) if clip else moved.item() > 1


def plan(**changes: Any) -> Plan:
    made = Plan(
        batch_size=1, accumulate=1, epochs=1.0, steps_per_epoch=1, total=100, optimizer="adamw", learning_rate=1.0,
        weight_decay=0.0, warmup=0.1, schedule="cosine", clip=0.0, precision="fp32", patience=0, seed=0,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("schedule", "halfway", "last"), [("cosine", 0.5, 0.0003), ("linear", 0.5, 1 / 90), ("constant", 1.0, 1.0)]
)
def test_the_rate_warms_up_then_decays(schedule: str, halfway: float, last: float) -> None:
    asked = plan(schedule=schedule)
    rates = [factor(step, asked) for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 11 for n in range(10)]) and rates[10] == 1.0
    assert rates[55] == pytest.approx(halfway) and rates[99] == pytest.approx(last, abs=1e-4)
    assert max(rates) == 1.0 and factor(0, plan(warmup=0.0)) == 1.0


def test_the_schedule_is_what_the_optimizer_gets(problem: Problem, rates: list[float]) -> None:
    problem.train(problem.network(), warmup=0.25, schedule="linear")
    assert rates == [factor(n, plan(warmup=0.25, schedule="linear", total=12)) for n in range(12)]


def test_a_row_counts_as_much_as_its_pass_says(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every row counts twice, steps of plain SGD are those of twice the rate."""
    problem.over = "each row"
    wish: dict[str, Any] = {"epochs": 1, "optimizer": "sgd", "clip": 0.0, "weight_decay": 0.0}
    fast, double = problem.network(dropout=False), problem.network(dropout=False)
    plain = problem.train(fast, learning_rate=0.02, **wish)
    monkeypatch.setattr(Passes, "weights", lambda self, rows: torch.full((len(rows),), 2.0))
    counted = problem.train(double, learning_rate=0.01, skip_easy=0.5, **wish)
    assert counted.curve[0].train_loss == pytest.approx(2 * plain.curve[0].train_loss)
    for one, other in zip(fast.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_easy_rows_are_not_left_out_where_no_row_has_a_loss(problem: Problem) -> None:
    with pytest.raises(RecipeError, match=r"tune\.skip_easy: expected .* Leave it out\."):
        problem.train(problem.network(), skip_easy=0.5)


def test_a_loss_that_explodes_is_said_with_its_step(problem: Problem) -> None:
    def infinite(number: int) -> None:
        problem.noise = np.inf if number == 3 else 0.0

    problem.each = infinite
    with pytest.raises(DataError, match=r"loss became nan at step 3\. Lower `tune.learning_rate`"):
        problem.train(problem.network(), batch_size=16)


# --- when it stops, and what is kept ---------------------------------------------------------------------------------


def test_patience_stops_and_the_best_weights_are_kept(problem: Problem) -> None:
    problem.scores = iter([0.9, 0.5, 0.7, 0.6, 0.8])
    network = problem.network()
    fit = problem.train(network, epochs=20, patience=3)
    assert (fit.stopped, fit.value) == ("patience", 0.5) and [point.metric for point in fit.curve][-1] == 0.8
    assert weights(network) == [tensor.numpy().tobytes() for tensor in problem.scored[1].values()]
    assert not network.training


def test_a_score_that_is_never_a_number_is_said_so(problem: Problem) -> None:
    problem.scores = iter([float("nan")] * 100)
    with pytest.raises(DataError, match=r"mse on the validation rows was never a finite number"):
        problem.train(problem.network())


def test_a_budget_is_kept_and_says_what_more_would_buy(problem: Problem, clock: Clock) -> None:
    """A step takes a second, a scoring nothing: 30 s pay for 30 steps, and the rate decays inside them."""
    problem.each = lambda number: setattr(clock, "now", clock.now + 1.0)
    problem.scores = iter(1 / (n + 1) for n in range(1000))
    fit = problem.train(problem.network(), epochs=1000, seconds=30.0)
    assert (fit.stopped, fit.steps, fit.seconds) == ("budget", 30, 30.0)
    assert fit.value == min(point.metric for point in fit.curve) and "twice the training would likely" in fit.more


def test_a_budget_that_steps_outgrow_still_ends_in_time(problem: Problem, clock: Clock) -> None:
    """Steps get ten times slower once they were measured."""
    problem.each = lambda number: setattr(clock, "now", clock.now + (1.0 if number < 8 else 10.0))
    fit = problem.train(problem.network(), epochs=1000, seconds=60.0)
    assert (fit.stopped, fit.steps, fit.seconds) == ("budget", 11, 56.0)


def test_neither_a_slow_first_step_nor_many_scorings_spoil_the_budget(problem: Problem, clock: Clock) -> None:
    """The first step takes 20 s, the others one, a scoring after each epoch of 3 steps two: 60 steps fit."""

    def scores() -> Iterator[float]:
        while True:
            clock.now += 2.0
            yield 1 / clock.now

    problem.each = lambda number: setattr(clock, "now", clock.now + (20.0 if number == 1 else 1.0))
    problem.scores = scores()
    fit = problem.train(problem.network(), batch_size=16, epochs=1000, seconds=120.0)
    assert (fit.stopped, fit.steps, fit.seconds) == ("budget", 60, 119.0)


def ticking(clock: Clock, step_seconds: Callable[[int], float], scoring_seconds: float) -> dict[str, Any]:
    """A problem whose steps and scorings take so long."""

    def scores() -> Iterator[float]:
        while True:
            clock.now += scoring_seconds
            yield 1 / clock.now

    def tick(number: int) -> None:
        clock.now += step_seconds(number)

    return {"each": tick, "scores": scores()}


@pytest.mark.parametrize(
    ("slow", "steps"),
    [(lambda number: number < 20, 142), (lambda number: number > 60, 118), (lambda number: number % 40 > 30, 137)],
    ids=["slow at first", "slow later", "slow now and then"],
)
def test_a_budget_is_used_up_and_the_decay_ends_in_it_however_busy_the_machine(
    problem: Problem, clock: Clock, rates: list[float], slow: Callable[[int], bool], steps: int
) -> None:
    """A slow step takes two seconds, another one, a scoring three."""
    problem = replace(problem, **ticking(clock, lambda number: 2.0 if slow(number) else 1.0, 3.0))
    fit = problem.train(problem.network(), batch_size=2, epochs=1000, seconds=200.0, schedule="linear")
    assert (fit.stopped, fit.steps) == ("budget", steps) and 195 < fit.seconds <= 200
    assert fit.curve[-1].step == fit.steps == len(rates)
    peak = int(np.argmax(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True) and rates[-1] < 0.03


def test_the_last_steps_of_a_budget_are_scored(problem: Problem, clock: Clock) -> None:
    """The machine all but stops between two scorings: what was learned since the last one is scored, in time."""
    problem = replace(problem, **ticking(clock, lambda number: 1.0 if number < 40 else 15.0, 3.0))
    fit = problem.train(network := problem.network(), batch_size=2, epochs=1000, seconds=100.0)
    assert fit.stopped == "budget" and fit.curve[-1].step == fit.steps and fit.seconds <= 100
    assert fit.value == fit.curve[-1].metric
    assert weights(network) == [tensor.numpy().tobytes() for tensor in problem.scored[-1].values()]


def test_early_batches_come_first_in_what_a_budget_pays_for(problem: Problem, clock: Clock) -> None:
    """Each step takes two seconds: 30 are paid for; after six, which are measured, half of the others are early."""
    problem.train(problem.network(), batch_size=16, epochs=4, early=0.5)
    assert problem.early == list(range(6)) and problem.num_batches == 12
    problem.early, problem.num_batches = [], 0
    shutil.rmtree(problem.checkpoints, ignore_errors=True)
    problem.each = lambda number: setattr(clock, "now", clock.now + 2.0)
    assert problem.train(problem.network(), batch_size=16, epochs=1000, seconds=60.0, early=0.5).steps == 30
    assert problem.early == list(range(18))


def test_a_measured_try_has_its_share_of_early_batches(problem: Problem) -> None:
    """Else a plan would take the cheaper steps for all there are."""
    problem.train(problem.network(), batch_size=16, epochs=100, early=0.4, max_steps=10)
    assert problem.early == list(range(4)) and problem.num_batches == 10


def test_a_budget_larger_than_needed_changes_nothing(problem: Problem, clock: Clock) -> None:
    problem.each = lambda number: setattr(clock, "now", clock.now + 1.0)
    one, other = problem.network(), problem.network()
    assert problem.train(one, seconds=1e6).stopped == "done"
    problem.train(other)
    assert weights(one) == weights(other)


# --- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("average", "skip_easy"), [(None, None), (0.9, None), (0.9, 0.5)])
@pytest.mark.parametrize("ends", ["Ctrl-C", "a crash"])
def test_resumed_it_gives_the_same_bits(
    tmp_path: Path, optimizer: str, average: float | None, skip_easy: float | None, ends: str
) -> None:
    """Dropout, batch norm, augmentation, length buckets, early batches, an average of the weights, easy rows left out;
    stopped thrice."""
    wish: dict[str, Any] = {
        "optimizer": optimizer, "average": average, "lengths": [n % 5 for n in range(ROWS)], "epochs": 6,
        "checkpoint_seconds": 0.0, "patience": 3, "early": 0.5, "skip_easy": skip_easy,
    }  # fmt: skip
    over = "each row" if skip_easy else "rows"
    whole = Problem(tmp_path / "whole", noise=0.1, over=over)
    undisturbed = whole.network()
    wanted = whole.train(undisturbed, **wish)

    class Crash(Exception):
        pass

    def end(number: int) -> None:
        if number in (2, 7, 11):  # counted over all resumptions
            if ends == "a crash":
                raise Crash
            signal.raise_signal(signal.SIGINT)

    problem = Problem(tmp_path / "stopped", each=end, noise=0.1, over=over)
    for _ in range(3):
        with pytest.raises(Crash if ends == "a crash" else Stopped):
            problem.train(problem.network(), **wish)
    network = problem.network()
    fit = problem.train(network, **wish)
    assert weights(network) == weights(undisturbed)
    assert (fit.steps, fit.value, fit.stopped) == (wanted.steps, wanted.value, wanted.stopped)
    assert [replace(p, seconds=0) for p in fit.curve] == [replace(p, seconds=0) for p in wanted.curve]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_convolutions_give_the_same_bits(optimizer: Literal["adamw", "sgd", "muon"]) -> None:
    """Their weights lie in memory otherwise than a checkpoint has them."""

    def fresh() -> tuple[nn.Module, Optimizers]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network, Optimizers(network, optimizer, 0.01, 0.1, {})

    def step(network: nn.Module, optimizers: Optimizers, seed: int) -> None:
        pictures = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
        network(pictures.to(memory_format=torch.channels_last)).square().sum().backward()
        optimizers.step(1.0)
        optimizers.zero_grad()

    network, optimizers = fresh()
    step(network, optimizers, 1)
    again, resumed = fresh()
    again.load_state_dict({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    resumed.load({name: tensor.contiguous() for name, tensor in optimizers.state().items()})
    step(network, optimizers, 2)
    step(again, resumed, 2)
    assert weights(again) == weights(network)


def test_a_budget_counts_over_resumptions(problem: Problem, clock: Clock) -> None:
    def tick(number: int) -> None:
        clock.now += 1.0
        if number in (3, 12):
            signal.raise_signal(signal.SIGINT)

    problem.each = tick
    for _ in range(2):
        with pytest.raises(Stopped, match="Run the same command again to go on"):
            problem.train(problem.network(), epochs=1000, seconds=30.0)
        clock.now += 1000.0  # between two resumptions time is free
    fit = problem.train(problem.network(), epochs=1000, seconds=30.0)
    assert (fit.steps, fit.seconds, fit.stopped) == (30, 30.0, "budget")


def test_ctrl_c_in_the_very_last_step_is_not_lost(problem: Problem) -> None:
    problem.scores = iter([0.5, 0.6, 0.7])
    problem.each = lambda number: signal.raise_signal(signal.SIGINT) if number == 3 else None
    with pytest.raises(KeyboardInterrupt):
        problem.train(problem.network(), epochs=2, patience=2, batch_size=16)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_less_free_memory_changes_nothing_once_it_has_begun(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """`batch_size: auto` is measured once: another batch size would be another training."""
    whole = problem.network()
    problem.train(whole)
    problem.each = lambda number: signal.raise_signal(signal.SIGINT) if number == 20 else None
    with pytest.raises(Stopped):
        problem.train(problem.network())
    monkeypatch.setattr(schedule, "free_memory", lambda: 4096)
    assert problem.train(again := problem.network()).settings["batch_size"] == 16
    assert weights(again) == weights(whole)


def test_a_checkpoint_of_another_plan_is_not_continued(problem: Problem) -> None:
    problem.each = lambda number: signal.raise_signal(signal.SIGINT) if number == 5 else None
    with pytest.raises(Stopped):
        problem.train(problem.network())
    one, other = problem.network(), problem.network()
    problem.train(one, learning_rate=0.5)
    Problem(problem.checkpoints.with_name("empty")).train(other, learning_rate=0.5)
    assert weights(one) == weights(other)


def test_the_seed_and_nothing_else_decides(problem: Problem) -> None:
    problem.noise = 0.1
    made = []
    for seed in (0, 0, 1):
        torch.rand(seed + len(made))  # whoever used the global generator before
        network = problem.network()
        problem.train(network, seed=seed)
        made.append(weights(network))
    assert made[0] == made[1] != made[2]


# --- number format --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "format"),
    [
        ("fpu avx512f avx512_bf16 sse2", "bf16"),
        ("fpu amx_bf16 amx_tile", "bf16"),
        ("fpu avx2 avx512f avx512_vnni", "fp32"),
        (None, "fp32"),
    ],
)
def test_bf16_where_the_processor_is_fast_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str | None, format: str
) -> None:
    listing = tmp_path / "cpuinfo"
    if flags is not None:
        listing.write_text(f"processor : 0\nflags : {flags} \n")
    monkeypatch.setattr(device, "Path", lambda _: listing)
    monkeypatch.setattr(device, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(device, "fast_bf16", device.fast_bf16.__wrapped__)
    assert device.precision("auto") == format
    assert (device.precision("fp32"), device.precision("bf16")) == ("fp32", "bf16")


IN_A_PROCESS = """
import resource
from pathlib import Path
import torch
from modelcommons.workbench.engine.device import kept_memory

def page_faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.empty(2**26, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():  # MiB
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20

before = page_faults(8), resident()
with kept_memory():
    page_faults(32)  # until the pieces have found their places
    kept = page_faults(8)
print(*before, kept, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's memory is asked about")
def test_what_a_step_frees_is_kept_for_the_next_and_given_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS], check=True, capture_output=True, text=True)
    taken, before, kept, after = map(int, done.stdout.split())
    assert kept < taken / 4  # pages that the system gives, and clears
    assert after < before + 48


@pytest.mark.parametrize("format", ["fp32", "bf16"])
def test_the_format_asked_for_is_used_and_reported(problem: Problem, format: str) -> None:
    network = problem.network()
    fit = problem.train(network, precision=format)
    assert problem.autocast == (format == "bf16") and fit.settings["precision"] == format
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


# --- several seeds --------------------------------------------------------------------------------------------------


class Dice:
    """A task that trains nothing: the validation metric is a function of the seed."""

    name, options = "dice", type("Options", (BaseModel,), {})

    def __init__(self, direction: str, values: dict[int, float], **fit: Any) -> None:
        self.metrics = [SimpleNamespace(name="points", direction=direction)]
        self.values, self.changes, self.seconds = values, fit, list[float | None]()

    def fit(self, train: Any, validation: Any, job: Any) -> Fit:
        self.seconds.append(job.seconds)
        value = self.values[job.seed]
        made = Fit("points", value, (Point(1, 1.0, 6.0, 0.0, value),), 100, 1.0, 6.0, 1.0, 1, 1)
        return replace(made, **self.changes)


def tuned(task: Dice, folder: Path, **training: Any) -> Tuned:
    recipe = Recipe.model_validate(
        {"task": "dice", "model": {"new": "cube"}, "data": {"source": "x"}, "tune": {"seeds": (3, 4, 5), **training}}
    )
    got = SimpleNamespace(choices=[SimpleNamespace(name="cube", options={})])
    parts = SimpleNamespace(train=None, validation=None)
    return tune(task, got, parts, recipe, RunFolder(folder), Silent(), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(("direction", "best"), [("higher", 1), ("lower", 2)])
def test_of_several_seeds_the_best_on_validation_is_chosen(tmp_path: Path, direction: str, best: int) -> None:
    task = Dice(direction, {3: 0.5, 4: 0.9, 5: 0.1})
    done = tuned(task, tmp_path)
    assert done.chosen == best and [each.seed for each in done.trained] == [3, 4, 5]
    assert tuned(Dice(direction, {}), tmp_path) == done, "what is finished is not trained again"


def test_seeds_share_a_budget_and_what_one_leaves_goes_to_the_next(tmp_path: Path) -> None:
    task = Dice("higher", {3: 0.5, 4: 0.9, 5: 0.1})
    tuned(task, tmp_path, budget={"minutes": 1})
    assert task.seconds == [20.0, 27.0, 48.0]  # each used 6 s


def test_seeds_at_once_share_the_time_of_their_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three seeds two at a time the first and the last go one after the other: in the budget all the same."""
    task = Dice("higher", {3: 0.5, 4: 0.9, 5: 0.1})
    lanes: list[Tuning] = []
    init = Tuning.__init__
    monkeypatch.setattr(Tuning, "__init__", lambda self, *rest: (lanes.append(self), init(self, *rest))[1])

    def carry_out(module: str, orders: list[dict[str, Any]]) -> None:
        for order in reversed(orders):
            lanes[0].lane(order)

    monkeypatch.setattr(fan_out, "carry_out", carry_out)
    done = tuned(task, tmp_path, budget={"minutes": 1}, parallel=2)
    assert [each.seed for each in done.trained] == [3, 4, 5] and task.seconds == [60.0, 30.0, 54.0]


def test_a_budget_that_buys_nothing_usable_says_what_would(tmp_path: Path) -> None:
    task = Dice("higher", dict.fromkeys((3, 4, 5), 0.5), stopped="budget", steps=2, epochs=0.01, seconds=6.0)
    with pytest.raises(BudgetReached) as caught:
        tuned(task, tmp_path, budget={"minutes": 0.1})
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "The budget of 0.1 min ended after 2 steps, before anything usable; one epoch takes about 10 min. "
        "Give tune.budget.minutes a larger number."
    )


def test_seeding_each_step_is_torchs_and_keeps_nothing() -> None:
    """`torch.manual_seed` kept a stack trace for every step of a training without an accelerator."""
    torch.manual_seed(7)
    wanted, before = torch.rand(4), len(torch.cuda._queued_calls)  # type: ignore[attr-defined]
    device.reseed(7)
    assert torch.equal(torch.rand(4), wanted) and len(torch.cuda._queued_calls) == before  # type: ignore[attr-defined]
