"""what a score is: a metric with its direction and range, and one number with all that is needed to doubt it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    name: str  # as the field's papers call it, lower case: accuracy, macro_f1, log_loss, mse
    direction: Literal["higher", "lower"]
    low: float  # range
    high: float
    summary: str  # one line for docs and cards


@dataclass(frozen=True, slots=True)
class Score:
    """One number, with all that is needed to doubt it."""

    metric: str
    value: float
    direction: Literal["higher", "lower"]
    low: float  # 95 % interval
    high: float
    method: str  # wilson; percentile-bootstrap(draws=2000,seed=0); block-bootstrap(block=96,...)
    num: int | None = None  # right answers, for proportions
    den: int | None = None
