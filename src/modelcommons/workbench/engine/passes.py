"""passes: on which rows each step is taken, pass after pass over them all; easy ones may be left out of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from modelcommons.errors import RecipeError
from modelcommons.workbench.engine import ranks
from modelcommons.workbench.engine.batches import epoch_batches
from modelcommons.workbench.engine.pace import State
from modelcommons.workbench.engine.schedule import Plan

WHOLE = 0.15  # a pass that begins in this share of the schedule, at its end, leaves nothing out (paper: an eighth)


class Passes:
    """The batches of one training, over all its resumptions; `state` says where they are.

    With `plan.skip_easy`, a pass leaves out that share of the rows whose loss was below the mean when they were seen
    last, by chance, and the easy rows that stay count for them: on average a step goes where all rows would send it.
    The first pass leaves out nothing, nor do the last.

    Source: Qin et al., InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning (ICLR 2024). There passes
    are given and steps become fewer and longer; here the number of steps is given, and they stay as long.
    """

    def __init__(
        self,
        num_rows: int,
        plan: Plan,
        state: State,
        lengths: Sequence[int] | np.ndarray | None,
        tensors: Mapping[str, Tensor],
    ) -> None:
        self._plan, self._state, self._num_rows = plan, state, num_rows
        self._lengths = None if lengths is None else np.asarray(lengths)
        skips = num_rows if plan.skip_easy else 0
        self._losses = tensors.get("losses", torch.zeros(skips))  # of each row, when it was seen last
        self._weights = tensors.get("weights", torch.ones(skips))  # of each row in this pass; 0: left out
        self._batches = self._order()

    def next(self, place: float) -> list[np.ndarray]:
        """Row indices (int64) of each batch of the next step, which stands at this share of the schedule."""
        state = self._state
        if state.taken >= len(self._batches):
            state.passes, state.taken = state.passes + 1, 0
            if self._plan.skip_easy:
                self._weights = self._drawn(self._plan.skip_easy, place)
            self._batches = self._order()
        found = self._batches[state.taken : state.taken + self._plan.accumulate]
        state.taken += len(found)
        return found

    def weights(self, rows: np.ndarray) -> Tensor:
        """What the loss of each of these rows counts in this pass, (rows,); 1 on average over all that are taken."""
        return self._weights[rows]

    def saw(self, batch: np.ndarray, losses: Tensor) -> None:
        """Notes the loss of each row of a batch that this process took, and what the others tell of theirs.

        Raises:
            RecipeError: there is not one of each.
        """
        told = np.zeros(len(batch))
        mine = ranks.mine(told)  # a view
        if losses.shape != mine.shape:
            raise RecipeError(
                "tune.skip_easy: expected a network with a loss of each row (it classifies pictures, texts, sounds or "
                "rows of a table, or foretells a number from a row), this one has none. Leave it out."
            )
        mine[:] = losses.float().cpu()
        self._losses[batch] = torch.tensor(ranks.total(told.tolist()), dtype=torch.float32)

    def tensors(self) -> dict[str, Tensor]:
        """Of a checkpoint."""
        return {"losses": self._losses, "weights": self._weights} if self._plan.skip_easy else {}

    def _drawn(self, share: float, place: float) -> Tensor:
        """Weights of a pass that begins at this place."""
        weights = torch.ones(self._num_rows)
        if place < 1 - WHOLE:
            mean = ranks.shared(float(self._losses.double().mean()))  # its last bits depend on the number of threads
            easy = self._losses.double() < mean
            drawn = np.random.default_rng([self._plan.seed, self._state.passes, 2]).random(self._num_rows)
            weights[easy] = 1 / (1 - share)
            weights[easy & torch.from_numpy(drawn < share)] = 0.0
            weights *= weights.count_nonzero() / self._num_rows
        return weights

    def _order(self) -> list[np.ndarray]:
        plan, number = self._plan, self._state.passes
        if not plan.skip_easy:
            return epoch_batches(self._num_rows, plan.batch_size, plan.seed, number, self._lengths)
        kept = self._weights.nonzero()[:, 0].numpy()
        lengths = None if self._lengths is None else self._lengths[kept]
        return [kept[each] for each in epoch_batches(len(kept), plan.batch_size, plan.seed, number, lengths)]
