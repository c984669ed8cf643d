"""train: the loop. One network, one loss, one score; resumed bit for bit, stopped by its budget at its best."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from modelcommons.errors import DataError, Stopped, UsageError
from modelcommons.workbench.engine import checkpoint, curve, depthwise, ranks
from modelcommons.workbench.engine.device import device, kept_memory, reseed, to_device
from modelcommons.workbench.engine.optimizers import Optimizers
from modelcommons.workbench.engine.pace import Pace, State
from modelcommons.workbench.engine.passes import Passes
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.engine.schedule import Plan, factor, planned
from modelcommons.workbench.engine.shards import Divided, laid_out, whole
from modelcommons.workbench.engine.training import Defaults, Fit, Point, Training


class Mean(NamedTuple):
    """A loss over what only the answers tell: boxes, by how well they are met. `over` below 1 is taken as 1."""

    total: Tensor  # of a batch, a scalar
    over: Tensor  # what it is divided by, a scalar


MakeBatch = Callable[[np.ndarray, np.random.Generator], Any]
Loss = Callable[[nn.Module, Any], Tensor | tuple[Tensor, ...] | Mean]
Counts = Sequence[Callable[[Any], float]]
Run = Callable[..., Any]  # calls the first argument with the others, the network's weights being at hand


def train(
    network: nn.Module,
    *,
    num_rows: int,
    batch: MakeBatch,
    loss: Loss,
    counts: Counts = (),
    score: Callable[[nn.Module], float],
    metric: str,
    direction: Literal["higher", "lower"],
    limit: float,
    training: Training,
    defaults: Defaults,
    seed: int,
    checkpoints: Path,
    progress: Progress,
    lengths: Sequence[int] | np.ndarray | None = None,
    seconds: float | None = None,
    max_steps: int | None = None,
    groups: Mapping[str, float] | None = None,
    average: float | None = None,
    early: tuple[float, MakeBatch] | None = None,
) -> Fit:
    """Trains `network` in place; on return it holds the weights that scored best.

    Args:
        batch: makes one batch from row indices (int64); the generator, for augmentation, depends on seed and step only.
        loss: of each row of a batch, (rows,), or their mean, a scalar; or what `counts` or `Mean` say.
        counts: for a loss that is a mean over something else than rows (tokens, masked words, frames), or a sum of such
            means: how many of them a batch holds, one function for each part. `loss` gives as many sums, and the step
            is taken on the sum of sums / counts of all batches and processes together.
        score: the main metric on the validation rows; called without gradients.
        limit: the best value that the metric can have.
        lengths: one per training row; turns on length bucketing.
        seconds: budget, scoring included, over all resumptions.
        max_steps: stop after so many steps (a measured try).
        groups: parameter-name prefix -> factor on its learning rate.
        average: decay of an exponential average of the weights, which is then scored and kept instead of them.
        early: a share of the schedule, and what makes its batches: cheaper ones, to begin with. Of a measured try it is
            that share of the try, so that its steps cost on average what those of the whole will.

    Raises:
        DataError: the loss became infinite or NaN, or no score was a finite number.
        RecipeError: easy rows are to be skipped, and the loss is not one of each row.
        Stopped: Ctrl-C; a checkpoint was written.
    """
    divided = training.shard and ranks.count() > 1
    layout = torch.channels_last if defaults.channels_last else torch.contiguous_format
    if not divided:  # FSDP divides contiguous weights only; the batches lie as they do elsewhere
        network.to(device(), memory_format=layout)  # type: ignore[call-overload]
    if device().type == "cpu":
        depthwise.quicken(network)
    found = checkpoint.newest(checkpoints)
    plan = planned(network, num_rows, batch, loss, training, defaults, seed, layout, found)
    plan = Plan(**ranks.shared(asdict(plan)))  # memory and processors of the first decide for all
    kept = copy.deepcopy(network).eval() if average else network  # what is scored and kept
    state, tensors = _resume(found, plan, seconds)
    _see_the_same(state, checkpoints)
    _load(network, kept, tensors)
    run: Run = Divided(network) if divided else _call
    score_run: Run = Divided(kept) if divided and kept is not network else run
    scales = dict(groups or {})
    optimizers = Optimizers(network, plan.optimizer, plan.learning_rate, plan.weight_decay, scales, plan.momentum)
    optimizers.load(tensors["optimizer"])
    now = kept.state_dict()
    best = {name: laid_out(now[name], tensor) for name, tensor in tensors["best"].items()}
    passes = Passes(num_rows, plan, state, lengths, tensors["passes"])
    del found, tensors, now  # as large as the training itself
    pace = Pace(state, plan, seconds)
    early_until = early[0] * min(max_steps or plan.total, plan.total) if early else 0.0  # in the plan's steps
    stopped: Literal["done", "budget", "patience"] = "done"
    saved = time.monotonic()

    def goal() -> int:
        return min(state.total, max_steps or state.total)

    def save() -> None:
        state.seconds = pace.spent
        whole_tensors = _tensors(network, kept, best, optimizers, passes)
        if ranks.leads():
            checkpoint.write(checkpoints, state.step, whole_tensors, _json(plan, state))

    with _ctrl_c() as pressed, kept_memory():
        while state.step < goal():
            # one step
            parts, rate = passes.next(pace.place / plan.total), factor(pace.place, plan)
            make = early[1] if early and pace.place < early_until else batch
            value = _step(network, run, parts, passes, make, loss, counts, optimizers, rate, plan, state, layout)
            if kept is not network:
                _average(kept, network, min(average or 0.0, (1 + state.step) / (10 + state.step)))
            state.loss_sum, state.loss_steps = state.loss_sum + value, state.loss_steps + 1
            pace.stepped()
            _show(progress, plan, state, goal(), pace)
            late = time.monotonic() - saved >= training.checkpoint_seconds
            ends, stop, late = ranks.shared([pace.ends(), pressed(), late])  # the first process decides for all

            # once in a while, and at the end: score the validation rows, keep the best weights
            due = ends or state.step == goal() or pace.due()
            if due and _scored(kept, score_run, score, state, plan, direction, pace):
                best = {name: tensor.detach().clone() for name, tensor in kept.state_dict().items()}
            if plan.patience and state.stale >= plan.patience:
                stopped = "patience"
                break
            if ends and state.step < goal():
                stopped = "budget"
                break
            if stop:
                save()
                raise Stopped(f"Stopped at step {state.step}; nothing is lost. Run the same command again to go on.")
            if late and state.step < goal():
                save()
                saved = time.monotonic()

    if not best:
        raise DataError(
            f"{metric} on the validation rows was never a finite number. "
            "Lower `tune.learning_rate`, or look for extreme values in the data."
        )
    network.load_state_dict(best)
    if isinstance(run, Divided):
        run.undo()
    network.eval()
    state.seconds = pace.spent
    if state.total < plan.total and stopped == "done":
        stopped = "budget"
    more = curve.more(state.curve, metric, direction, limit)
    return _fit(network, plan, state, metric, stopped, num_rows, more)


# --- paragraphs of the loop -----------------------------------------------------------------------------------------


def _call(work: Callable[..., Any], *arguments: Any) -> Any:
    """How a network that lies here in one piece is run."""
    return work(*arguments)


def _step(
    network: nn.Module,
    run: Run,
    parts: list[np.ndarray],
    passes: Passes,
    batch: MakeBatch,
    loss: Loss,
    counts: Counts,
    optimizers: Optimizers,
    rate: float,
    plan: Plan,
    state: State,
    layout: torch.memory_format,
) -> float:
    """Forward, backward, clip, step; returns the loss over the accumulated batches of all processes."""
    network.train()
    me = [ranks.rank()] if ranks.rank() else []  # the first draws what it would draw alone
    reseed(int(np.random.default_rng([plan.seed, state.step, *me]).integers(2**62)))  # repeats on resume
    rng, rows = np.random.default_rng([plan.seed, state.step, 1, *me]), sum(map(len, parts))
    divided, taken = isinstance(run, Divided), []
    for at, part in enumerate(parts):
        mine = ranks.mine(part)
        if len(mine) or divided:  # divided, all run every batch together: who has no row of it runs one without count
            taken.append((at, mine, batch(mine if len(mine) else part[:1], rng)))
    sums = ranks.total([float(sum(count(made) for _, mine, made in taken if len(mine))) for count in counts])
    alone = len(parts) == ranks.count() == 1
    total = over = open_means = 0.0
    losses = [torch.zeros(0)] * len(parts)  # of this process's rows
    for at, mine, made in taken:
        many = len(mine)
        with _autocast(plan):
            found = run(loss, network, to_device(made, layout))
        match found:
            case Tensor() if plan.skip_easy and found.ndim and many:
                value = (found * passes.weights(mine).to(found)).sum() / rows
                losses[at] = found.detach()
            case Mean():  # with others, what it is divided by is known once they all have answered
                value = found.total / (found.over.clamp(min=1) if alone else rows)
                if not alone:
                    over, open_means = over + float(found.over) * (many > 0), open_means + 1
            case tuple():
                value = torch.stack([part / max(1.0, of) for part, of in zip(found, sums, strict=True)]).sum()
            case _:
                value = found.mean() * (many / rows)
        value = value if many else value * 0
        pulled = value * ranks.count() if divided else value  # divided, gradients come as a mean of the processes
        pulled.backward()  # type: ignore[no-untyped-call]
        total += float(value.detach())
    for part, each in zip(parts, losses, strict=True) if plan.skip_easy else ():
        passes.saw(part, each)
    told = [total, over, open_means]
    total, over, open_means = ranks.total(told) if divided else ranks.add_up(network, told)
    if open_means:
        total *= rows / max(1.0, over)
        grads = [weight.grad for weight in network.parameters() if weight.grad is not None]
        torch._foreach_mul_(grads, rows / max(1.0, over))
    if not math.isfinite(total):
        raise DataError(
            f"The training loss became {total} at step {state.step + 1}. "
            "Lower `tune.learning_rate`, or look for extreme values in the data."
        )
    if plan.clip:
        nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
    optimizers.step(rate)
    optimizers.zero_grad()
    return total


def _scored(
    kept: nn.Module,
    run: Run,
    score: Callable[[nn.Module], float],
    state: State,
    plan: Plan,
    direction: Literal["higher", "lower"],
    pace: Pace,
) -> bool:
    """The first process scores and judges what the budget pays for; whether the score is the best so far."""
    begun, value = pace.spent, 0.0
    if ranks.leads() or isinstance(run, Divided):
        kept.eval()
        with torch.inference_mode(), _autocast(plan):
            value = float(run(score, kept))
    if ranks.leads():
        pace.judge(pace.spent - begun)
    told = [value, state.total, state.place, state.judged, state.measured]
    value, state.total, state.place, state.judged, state.measured = ranks.shared(told)
    mean_loss = state.loss_sum / max(1, state.loss_steps)
    state.loss_sum, state.loss_steps = 0.0, 0
    state.curve.append(Point(state.step, state.step / plan.steps_per_epoch, pace.spent, mean_loss, value))
    sign = 1 if direction == "higher" else -1
    if math.isfinite(value) and (state.best is None or sign * value > sign * state.best):
        state.best, state.stale = value, 0
        return True
    state.stale += 1
    return False


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


def _autocast(plan: Plan) -> torch.autocast:
    return torch.autocast(device().type, torch.bfloat16, enabled=plan.precision == "bf16")


def _show(progress: Progress, plan: Plan, state: State, goal: int, pace: Pace) -> None:
    spent = pace.spent
    rate = state.step * plan.batch_size * plan.accumulate / max(spent, 1e-9)
    left = spent / state.step * (goal - state.step)
    budget = "" if pace.budget is None else f" · {spent / 60:.1f} of {pace.budget / 60:.1f} min"
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


Tensors = dict[str, dict[str, Tensor]]  # of a checkpoint, by part: network, kept, best, optimizer, passes


def _resume(found: checkpoint.Checkpoint | None, plan: Plan, seconds: float | None) -> tuple[State, Tensors]:
    """What to go on from: the newest good checkpoint of this plan, else the beginning."""
    parts: Tensors = {"network": {}, "kept": {}, "best": {}, "optimizer": {}, "passes": {}}
    if found is None or found.state["plan"] != plan.digest():
        return State(total=plan.total), parts
    for name, tensor in found.tensors.items():
        part, rest = name.split(":", 1)
        parts[part][rest] = tensor
    values = found.state["state"]
    state = State(**{**values, "curve": [Point(**point) for point in values["curve"]]})
    if seconds is None:
        state.total = plan.total
    return state, parts


def _load(network: nn.Module, kept: nn.Module, tensors: Tensors) -> None:
    if tensors["network"]:
        network.load_state_dict(tensors["network"])
    if tensors["kept"]:
        kept.load_state_dict(tensors["kept"])


def _tensors(
    network: nn.Module, kept: nn.Module, best: dict[str, Tensor], optimizers: Optimizers, passes: Passes
) -> dict[str, Tensor]:
    """Of a checkpoint; whole, so that any number of processes may go on."""
    parts = {
        "network": network.state_dict(), "best": best, "optimizer": optimizers.state(), "passes": passes.tensors()
    }  # fmt: skip
    if kept is not network:
        parts["kept"] = kept.state_dict()
    return {f"{part}:{name}": whole(tensor) for part, tensors in parts.items() for name, tensor in tensors.items()}


def _json(plan: Plan, state: State) -> dict[str, Any]:
    return {"plan": plan.digest(), "batch_size": plan.batch_size, "state": asdict(state)}


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
