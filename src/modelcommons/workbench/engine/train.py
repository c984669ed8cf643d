"""train: the loop. One network, one loss, one score; resumed bit for bit, stopped by its budget at its best."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from modelcommons.errors import DataError, Stopped, UsageError
from modelcommons.workbench.engine import checkpoint, curve, ranks
from modelcommons.workbench.engine.batches import epoch_batches
from modelcommons.workbench.engine.device import device, free_memory, precision
from modelcommons.workbench.engine.optimizers import Optimizers
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.engine.training import Defaults, Fit, Point, Training

MEASURED = 5  # steps timed (after one that warms up) before a budget is turned into a number of steps
SCORINGS = 8  # at least so many in a training of few epochs
PROBE = 8  # rows of the batch that memory per row is measured on

MakeBatch = Callable[[np.ndarray, np.random.Generator], Any]
Loss = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every `auto` resolved; a checkpoint of another plan is not continued."""

    batch_size: int
    accumulate: int
    epochs: float
    steps_per_epoch: int
    total: int  # steps of the whole schedule
    optimizer: Literal["adamw", "sgd", "muon"]
    learning_rate: float
    weight_decay: float
    warmup: float
    schedule: Literal["cosine", "linear", "constant"]
    clip: float
    precision: Literal["fp32", "bf16"]
    patience: int
    seed: int
    momentum: float | None = None


@dataclass(slots=True)
class State:
    """Where training is; all of it is in a checkpoint."""

    step: int = 0
    total: int = 0  # the plan's, or fewer once a budget was measured
    measured: bool = False  # whether the budget was turned into steps
    seconds: float = 0.0
    best: float | None = None
    stale: int = 0  # scorings since the best
    loss_sum: float = 0.0  # since the last scoring
    loss_steps: int = 0
    curve: list[Point] = field(default_factory=list)


def train(
    network: nn.Module,
    *,
    num_rows: int,
    batch: MakeBatch,
    loss: Loss,
    score: Callable[[nn.Module], float],
    metric: str,
    direction: Literal["higher", "lower"],
    limit: float,
    training: Training,
    defaults: Defaults,
    seed: int,
    checkpoints: Path,
    progress: Progress,
    lengths: Sequence[int] | None = None,
    seconds: float | None = None,
    max_steps: int | None = None,
    groups: Mapping[str, float] | None = None,
    average: float | None = None,
    early: tuple[float, MakeBatch] | None = None,
) -> Fit:
    """Trains `network` in place; on return it holds the weights that scored best.

    Args:
        batch: makes one batch from row indices (int64); the generator, for augmentation, depends on seed and step only.
        loss: mean loss over the rows of a batch, a scalar.
        score: the main metric on the validation rows; called without gradients.
        limit: the best value that the metric can have.
        lengths: one per training row; turns on length bucketing.
        seconds: budget, scoring included, over all resumptions.
        max_steps: stop after so many steps (a measured try).
        groups: parameter-name prefix -> factor on its learning rate.
        average: decay of an exponential average of the weights, which is then scored and kept instead of them.
        early: a share of the steps, and what makes their batches: cheaper ones, to begin with. A budget is measured on
            the later, dearer ones.

    Raises:
        DataError: the loss became infinite or NaN, or no score was a finite number.
        Stopped: Ctrl-C; a checkpoint was written.
    """
    machine = device()
    layout = torch.channels_last if defaults.channels_last else torch.contiguous_format
    network.to(machine).to(memory_format=layout)  # type: ignore[call-overload]
    found = checkpoint.newest(checkpoints)
    plan = _plan(network, num_rows, batch, loss, training, defaults, seed, layout, found)
    plan = Plan(**ranks.shared(asdict(plan)))  # memory and processors of the first decide for all
    scales = dict(groups or {})
    optimizers = Optimizers(network, plan.optimizer, plan.learning_rate, plan.weight_decay, scales, plan.momentum)
    kept = copy.deepcopy(network).eval() if average else network  # what is scored and kept
    best: dict[str, Tensor] = {}
    state, best = _resume(found, plan, network, kept, optimizers, seconds)
    _see_the_same(state, checkpoints)
    goal = min(state.total, max_steps or state.total)
    saved = time.monotonic()
    started = saved - state.seconds
    stopped: Literal["done", "budget", "patience"] = "done"
    taken: list[float] = []  # seconds of the first steps of this process

    def save() -> None:
        state.seconds = time.monotonic() - started
        if ranks.leads():
            checkpoint.write(checkpoints, state.step, _tensors(network, kept, best, optimizers), _json(plan, state))

    def scored() -> float:
        return float(ranks.shared(_score(kept, score, plan) if ranks.leads() else None))

    with _ctrl_c() as pressed:
        batches: dict[int, list[np.ndarray]] = {}
        while state.step < goal:
            epoch = state.step // plan.steps_per_epoch
            if epoch not in batches:
                batches = {epoch: epoch_batches(num_rows, plan.batch_size, seed, epoch, lengths)}
            first = state.step % plan.steps_per_epoch * plan.accumulate

            # one step
            begun = time.monotonic()
            parts = batches[epoch][first : first + plan.accumulate]
            is_early = early is not None and (state.measured or seconds is None) and state.step < early[0] * state.total
            make = early[1] if early is not None and is_early else batch
            value = _step(network, parts, make, loss, optimizers, plan, state, layout)
            taken += [time.monotonic() - begun] * (len(taken) <= MEASURED)
            if kept is not network:
                _average(kept, network, min(average or 0.0, (1 + state.step) / (10 + state.step)))
            state.step += 1
            state.loss_sum, state.loss_steps = state.loss_sum + value, state.loss_steps + 1
            spent = time.monotonic() - started
            _show(progress, plan, state, goal, spent, seconds)

            # once: turn the budget into a number of steps, so that the learning rate decays inside it
            if seconds is not None and not state.measured and len(taken) > MEASURED and ranks.leads():
                left, each = seconds - spent, sum(taken[1:]) / MEASURED
                goal = _afford(state, plan, goal, left, each, lambda: _score(kept, score, plan))
            out_of_budget = seconds is not None and spent >= seconds
            signs = [goal, state.total, state.measured, out_of_budget, pressed()]
            goal, state.total, state.measured, out_of_budget, stop = ranks.shared(signs)

            # once in a while: score the validation rows, keep the best weights
            every = max(1, min(plan.steps_per_epoch, math.ceil(state.total / SCORINGS)))
            due = state.step % every == 0 or state.step == goal or (out_of_budget and not best)
            if due and _better(state, scored(), plan, direction, time.monotonic() - started):
                best = {name: tensor.detach().clone() for name, tensor in kept.state_dict().items()}
            if plan.patience and state.stale >= plan.patience:
                stopped = "patience"
                break
            if out_of_budget and state.step < goal:
                stopped = "budget"
                break
            if stop:
                save()
                raise Stopped(f"Stopped at step {state.step}; nothing is lost. Run the same command again to go on.")
            if time.monotonic() - saved >= training.checkpoint_seconds and state.step < goal:
                save()
                saved = time.monotonic()

    if not best:
        raise DataError(
            f"{metric} on the validation rows was never a finite number. "
            "Lower `tune.learning_rate`, or look for extreme values in the data."
        )
    network.load_state_dict(best)
    network.eval()
    state.seconds = time.monotonic() - started
    if state.total < plan.total and stopped == "done":
        stopped = "budget"
    more = curve.more(state.curve, metric, direction, limit)
    return _fit(network, plan, state, metric, stopped, num_rows, more)


# --- paragraphs of the loop -----------------------------------------------------------------------------------------


def _step(
    network: nn.Module,
    parts: list[np.ndarray],
    batch: MakeBatch,
    loss: Loss,
    optimizers: Optimizers,
    plan: Plan,
    state: State,
    layout: torch.memory_format,
) -> float:
    """Forward, backward, clip, step; returns the mean loss over all rows of the accumulated batches."""
    network.train()
    me = [ranks.rank()] if ranks.rank() else []  # the first draws what it would draw alone
    torch.manual_seed(int(np.random.default_rng([plan.seed, state.step, *me]).integers(2**62)))  # repeats on resume
    rng, rows, total = np.random.default_rng([plan.seed, state.step, 1, *me]), sum(map(len, parts)), 0.0
    for indices in map(ranks.mine, parts):
        if len(indices):
            made = _to_device(batch(indices, rng), layout)
            with _autocast(plan):
                value = loss(network, made) * (len(indices) / rows)
            value.backward()  # type: ignore[no-untyped-call]
            total += float(value.detach())
    total = ranks.add_up(network, total)
    if not math.isfinite(total):
        raise DataError(
            f"The training loss became {total} at step {state.step + 1}. "
            "Lower `tune.learning_rate`, or look for extreme values in the data."
        )
    if plan.clip:
        nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
    optimizers.step(factor(state.step, state.total, plan))
    optimizers.zero_grad()
    return total


def factor(step: int, total: int, plan: Plan) -> float:
    """Learning rate at `step` as a share of the peak: linear warm-up, then the schedule's decay to 0."""
    warm = round(plan.warmup * total)
    if step < warm:
        return (step + 1) / (warm + 1)
    rest = (step - warm) / max(1, total - warm)
    match plan.schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * rest))
        case "linear":
            return 1 - rest
        case "constant":
            return 1.0


def _better(state: State, value: float, plan: Plan, direction: Literal["higher", "lower"], seconds: float) -> bool:
    """Adds a point to the curve; whether it is the best so far."""
    mean_loss = state.loss_sum / max(1, state.loss_steps)
    state.loss_sum, state.loss_steps = 0.0, 0
    state.curve.append(Point(state.step, state.step / plan.steps_per_epoch, seconds, mean_loss, value))
    sign = 1 if direction == "higher" else -1
    if math.isfinite(value) and (state.best is None or sign * value > sign * state.best):
        state.best, state.stale = value, 0
        return True
    state.stale += 1
    return False


def _score(kept: nn.Module, score: Callable[[nn.Module], float], plan: Plan) -> float:
    kept.eval()
    with torch.inference_mode(), _autocast(plan):
        return float(score(kept))


def _see_the_same(state: State, checkpoints: Path) -> None:
    """Raises: UsageError: this process goes on from another checkpoint than the first one."""
    first = ranks.shared(state.step)
    if first != state.step:
        raise UsageError(
            f"Process {ranks.rank()} goes on from step {state.step}, the first one from step {first}: it does not see "
            f"the same {checkpoints}. Put the run folder where all machines see it (--folder)."
        )


@torch.no_grad()
def _average(kept: nn.Module, network: nn.Module, decay: float) -> None:
    for mine, theirs in zip(kept.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)


def _afford(state: State, plan: Plan, goal: int, left: float, step_seconds: float, score: Callable[[], float]) -> int:
    """Steps that the seconds left pay for, with one scoring now; never more than were asked for.

    There are `SCORINGS` to come, or one for each epoch, and one at the end, where those are more.
    """
    begun = time.monotonic()
    score()
    scoring = time.monotonic() - begun
    few = (left - scoring * (1 + SCORINGS)) / step_seconds
    many = (left - 2 * scoring) / (step_seconds + scoring / plan.steps_per_epoch)
    state.measured = True
    state.total = max(state.step + 1, min(state.total, state.step + int(min(few, many))))
    return min(goal, state.total)


def _autocast(plan: Plan) -> torch.autocast:
    return torch.autocast(device().type, torch.bfloat16, enabled=plan.precision == "bf16")


def _to_device(made: Any, layout: torch.memory_format) -> Any:
    if isinstance(made, Tensor):
        return made.to(device(), memory_format=layout) if made.ndim == 4 else made.to(device())
    if isinstance(made, Mapping):
        return {key: _to_device(value, layout) for key, value in made.items()}
    return type(made)(_to_device(value, layout) for value in made) if isinstance(made, (tuple, list)) else made


def _show(progress: Progress, plan: Plan, state: State, goal: int, spent: float, seconds: float | None) -> None:
    rate = state.step * plan.batch_size * plan.accumulate / max(spent, 1e-9)
    left = spent / state.step * (goal - state.step)
    budget = "" if seconds is None else f" · {spent / 60:.1f} of {seconds / 60:.1f} min"
    value = "" if state.best is None else f" · best {state.best:.4g}"
    progress.step("tune", state.step, goal, f"{rate:,.0f} rows/s · {left:.0f} s left{budget}{value}")


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Ctrl-C waits for the end of the step, so that what is saved is whole; a second one does not wait."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = threading.Event()

    def press(number: int, frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed.is_set():  # in the last step
        raise KeyboardInterrupt


# --- the plan, and going on -----------------------------------------------------------------------------------------


def _plan(
    network: nn.Module,
    num_rows: int,
    batch: MakeBatch,
    loss: Loss,
    training: Training,
    defaults: Defaults,
    seed: int,
    layout: torch.memory_format,
    found: checkpoint.Checkpoint | None,
) -> Plan:
    """Every `auto` of the recipe as a number; the batch size, which depends on free memory, as it was when begun."""

    def pick(wish: Any, default: Any) -> Any:
        return default if wish == "auto" else wish

    asked = training.batch_size
    if asked != "auto":
        most = asked
    elif found is not None:
        most = int(found.state["batch_size"])
    else:
        most = min(defaults.batch_size, _fits(network, num_rows, batch, loss, layout))
    size = min(most, num_rows)
    epochs = pick(training.epochs, defaults.epochs)
    per_epoch = math.ceil(math.ceil(num_rows / size) / training.accumulate)
    return Plan(
        batch_size=size,
        accumulate=training.accumulate,
        epochs=float(epochs),
        steps_per_epoch=per_epoch,
        total=max(1, math.ceil(epochs * per_epoch)),
        optimizer=pick(training.optimizer, defaults.optimizer),
        learning_rate=float(pick(training.learning_rate, defaults.learning_rate)),
        weight_decay=float(pick(training.weight_decay, defaults.weight_decay)),
        warmup=training.warmup,
        schedule=training.schedule,
        clip=training.clip,
        precision=precision(training.precision),
        patience=training.patience,
        seed=seed,
        momentum=training.momentum,
    )


def _fits(network: nn.Module, num_rows: int, batch: MakeBatch, loss: Loss, layout: torch.memory_format) -> int:
    """How many rows' activations fit into half of the free memory, as a power of two; measured on a few rows."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    weights = {weight.data_ptr() for weight in network.parameters()}
    rows = np.arange(min(PROBE, num_rows))
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}  # batch norm counts what it sees
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss(network, _to_device(batch(rows, np.random.default_rng(0)), layout))
    for name, tensor in network.named_buffers():
        tensor.data.copy_(before[name])
    per_row = sum(size for pointer, size in seen.items() if pointer not in weights) / len(rows)
    return int(2 ** max(0, math.floor(math.log2(max(1.0, free_memory() / 2 / max(per_row, 1.0))))))


def _resume(
    found: checkpoint.Checkpoint | None,
    plan: Plan,
    network: nn.Module,
    kept: nn.Module,
    optimizers: Optimizers,
    seconds: float | None,
) -> tuple[State, dict[str, Tensor]]:
    """The state to go on from: the newest good checkpoint of this plan, else the beginning."""
    if found is None or found.state["plan"] != _digest(plan):
        return State(total=plan.total), {}
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "kept": {}, "best": {}, "optimizer": {}}
    for name, tensor in found.tensors.items():
        part, rest = name.split(":", 1)
        parts[part][rest] = tensor
    network.load_state_dict(parts["network"])
    if kept is not network:
        kept.load_state_dict(parts["kept"])
    optimizers.load(parts["optimizer"])
    values = found.state["state"]
    state = State(**{**values, "curve": [Point(**point) for point in values["curve"]]})
    if seconds is None:
        state.total = plan.total
    return state, parts["best"]


def _tensors(network: nn.Module, kept: nn.Module, best: dict[str, Tensor], optimizers: Optimizers) -> dict[str, Tensor]:
    parts = {"network": network.state_dict(), "best": best, "optimizer": optimizers.state()}
    if kept is not network:
        parts["kept"] = kept.state_dict()
    return {f"{part}:{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def _json(plan: Plan, state: State) -> dict[str, Any]:
    return {"plan": _digest(plan), "batch_size": plan.batch_size, "state": asdict(state)}


def _digest(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).hexdigest()


def _fit(
    network: nn.Module,
    plan: Plan,
    state: State,
    metric: str,
    stopped: Literal["done", "budget", "patience"],
    num_rows: int,
    more: str,
) -> Fit:
    assert state.best is not None
    epochs = state.step / plan.steps_per_epoch
    weights = list(network.parameters())
    return Fit(
        metric=metric,
        value=state.best,
        curve=tuple(state.curve),
        steps=state.step,
        epochs=epochs,
        seconds=state.seconds,
        rows_per_second=epochs * num_rows / max(state.seconds, 1e-9),
        parameters=sum(weight.numel() for weight in weights),
        trained_parameters=sum(weight.numel() for weight in weights if weight.requires_grad),
        stopped=stopped,
        more=more,
        settings={
            name: value
            for name, value in asdict(plan).items()
            if name not in ("seed", "steps_per_epoch") and value is not None
        }
        | ({"processes": ranks.count()} if ranks.count() > 1 else {}),
    )
