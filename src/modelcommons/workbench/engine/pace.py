"""pace: what a budget still pays for, judged anew at every scoring; and when to score."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from modelcommons.workbench.engine.schedule import Plan
from modelcommons.workbench.engine.training import Point

MEASURED = 5  # steps timed (after one that warms up) before a budget is turned into a number of steps
SCORINGS = 8  # at least so many in a training of few epochs


def scored_every(total: int, steps_per_epoch: int) -> int:
    """Steps from one scoring to the next, in a training of `total` steps."""
    return max(1, min(steps_per_epoch, math.ceil(total / SCORINGS)))


@dataclass(slots=True)
class State:
    """Where training is; all of it is in a checkpoint."""

    step: int = 0
    passes: int = 0  # over the rows, before this one
    taken: int = 0  # batches of this pass
    total: int = 0  # the plan's, or as many as the budget pays for
    measured: bool = False  # whether the budget was turned into steps
    judged: int = 0  # step at which that was done last
    place: float = 0.0  # in the plan's schedule, at that step
    seconds: float = 0.0
    step_seconds: float = 0.0  # as measured last
    scoring_seconds: float = 0.0
    best: float | None = None
    stale: int = 0  # scorings since the best
    loss_sum: float = 0.0  # since the last scoring
    loss_steps: int = 0
    curve: list[Point] = field(default_factory=list)


class Pace:
    """The clock of one training, over all its resumptions; it moves `state.total`, never beyond the plan's.

    A machine is busy for a while and idle again, so what a budget pays for is judged again and again, by the steps
    since the last time. What is left of the schedule is stretched over what is left of the steps: the learning rate
    makes no jump, and its decay ends inside the budget.
    """

    def __init__(self, state: State, plan: Plan, budget: float | None) -> None:
        """`budget`: seconds, scoring included; None: no limit."""
        self.state, self.plan, self.budget = state, plan, budget
        self.started = time.monotonic() - state.seconds
        self.since: tuple[int, float] | None = None  # step and time from which steps are timed
        self.before, self.last_seconds = self.spent, 0.0  # end and length of the last step

    @property
    def spent(self) -> float:
        """Seconds."""
        return time.monotonic() - self.started

    def stepped(self) -> None:
        """A step is done; the first one of a process, which warms up, is not timed."""
        self.state.step += 1
        now = self.spent
        self.before, self.last_seconds = now, now - self.before
        if self.since is None:
            self.since = self.state.step, now

    @property
    def place(self) -> float:
        """Where in the plan's schedule the next step stands, in the plan's steps."""
        state, whole = self.state, self.plan.total
        taken, left = state.step - state.judged, max(1, state.total - state.judged)
        return state.place + (whole - state.place) * taken / left

    def due(self) -> bool:
        """Whether to score now: after so many steps, and once a budget can be measured."""
        assert self.since is not None
        first = self.budget is not None and not self.state.measured and self.state.step - self.since[0] >= MEASURED
        return first or self.state.step % scored_every(self.state.total, self.plan.steps_per_epoch) == 0

    def ends(self) -> bool:
        """Whether the budget does not pay for another step, as slow as the last one, and a scoring after it."""
        step_seconds = max(self.last_seconds, self.state.step_seconds) if self.state.measured else 0.0
        return self.budget is not None and self.spent + step_seconds + self.state.scoring_seconds > self.budget

    def judge(self, scoring_seconds: float) -> None:
        """After a scoring that took so long: how many steps there will be."""
        assert self.since is not None
        state, now = self.state, self.spent
        state.scoring_seconds, self.before = scoring_seconds, now
        steps, seconds = state.step - self.since[0], now - scoring_seconds - self.since[1]
        if self.budget is None or not steps or (not state.measured and steps < MEASURED):
            self.since = self.since[0], self.since[1] + scoring_seconds
            return
        # few steps say little: what was known before counts as well
        state.step_seconds = (seconds + state.step_seconds * max(0, MEASURED - steps)) / max(MEASURED, steps)
        self.since, state.measured = (state.step, now), True
        total = self._affordable(self.budget - now)
        if total != state.total:
            state.place, state.judged, state.total = self.place, state.step, total

    def _affordable(self, left: float) -> int:
        """The largest total, up to the plan's, whose steps and scorings to come take no more than `left` seconds."""
        low, high = self.state.step, self.plan.total
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._cost(middle) <= left else (low, middle - 1)
        return low

    def _cost(self, total: int) -> float:
        """Seconds from here to the end of so many steps."""
        state, every = self.state, scored_every(total, self.plan.steps_per_epoch)
        scorings = total // every - state.step // every + (total % every > 0)
        return (total - state.step) * state.step_seconds + scorings * state.scoring_seconds
