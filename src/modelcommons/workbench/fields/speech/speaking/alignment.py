"""alignment: which frames of a recording belong to which character of its text, found while a voice is learned.

Source: Badlani et al., One TTS Alignment To Rule Them All (2022).
"""

# B batch, T frames, L characters

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

BLANK = -1.0  # log energy of no character, as in the paper's code
NEVER = -1e4  # log energy of what is beyond the text


@cache
def _log_factorials(size: int) -> np.ndarray:
    """log(n!) for n below `size`."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])


def prior(num_frames: int, num_characters: int) -> np.ndarray:
    """Log probability of each character at each frame before anything is heard, near the diagonal; float32 (T, L).

    Source: the same, section 2.3: beta-binomial with parameters t and T - t + 1.
    """
    logs = _log_factorials(1 << (num_frames + num_characters + 1).bit_length())
    frames, size = np.arange(1, num_frames + 1)[:, None], num_characters - 1
    at = np.arange(num_characters)
    ways = logs[size] - logs[at] - logs[size - at]
    together = logs[at + frames - 1] + logs[size - at + num_frames - frames] - logs[size + num_frames]
    alone = logs[frames - 1] + logs[num_frames - frames] - logs[num_frames]
    return np.asarray(ways + together - alone, np.float32)


def forward_sum(energies: Tensor, frames: Tensor, characters: Tensor, blank: float = BLANK) -> Tensor:
    """Negative log probability that the frames pass all characters in order, over the characters; sum of the rows.

    Args:
        energies: log energy of each character at each frame, float32 (B, T, L).
        frames: of each row, int64 (B,); so `characters`. A row has no fewer frames than characters.
        blank: log energy of a frame that belongs to no character. With the paper's, all but one frame of each character
            of a short text may come to nothing; with `NEVER` every frame is of a character.
    """
    import torch
    from torch.nn.functional import ctc_loss, pad

    inside = torch.arange(energies.shape[2], device=energies.device) < characters[:, None]  # (B, L)
    filled = pad(energies.masked_fill(~inside[:, None], NEVER), (1, 0), value=blank)
    log_probs = filled.log_softmax(2).transpose(0, 1)  # (T, B, 1 + L)
    targets = torch.arange(1, energies.shape[2] + 1, device=energies.device).expand(len(energies), -1)
    each = ctc_loss(log_probs, targets, frames, characters, reduction="none", zero_infinity=True)
    return (each / characters).sum()


def monotonic(energies: np.ndarray, frames: np.ndarray, characters: np.ndarray) -> np.ndarray:
    """Frames that each character takes on the best way through all characters in order, int64 (B, L).

    Source: Kim et al., Glow-TTS (2020), monotonic alignment search; all rows of a batch side by side.

    Args:
        energies: (B, T, L).
        frames: of each row, (B,), no fewer than its characters; so `characters`.
    """
    rows, num_frames, size = energies.shape
    best = np.full((rows, size), -np.inf)
    best[:, 0] = energies[:, 0, 0]
    moved = np.zeros((num_frames, rows, size), bool)  # whether the character began at this frame
    beside = np.full((rows, size), -np.inf)
    for frame in range(1, num_frames):
        beside[:, 1:] = best[:, :-1]
        moved[frame] = beside > best
        best = np.maximum(best, beside) + energies[:, frame]
    taken, at, every = np.zeros((rows, size), np.int64), characters - 1, np.arange(rows)
    for frame in range(num_frames - 1, -1, -1):
        inside = frame < frames
        taken[every[inside], at[inside]] += 1
        at = at - (inside & moved[frame, every, at])
    return taken
