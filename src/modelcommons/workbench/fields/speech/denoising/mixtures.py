"""mixtures: clean recordings in noise that is made for each row from its id, or pairs that were recorded so."""

# N samples

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np

from modelcommons.errors import DataError
from modelcommons.workbench.engine.split import shares
from modelcommons.workbench.fields.speech import rows as reading
from modelcommons.workbench.fields.speech.denoising.metrics import si_sdr
from modelcommons.workbench.fields.speech.denoising.noise import Draw, Kind, mixed, noise
from modelcommons.workbench.fields.speech.denoising.options import EnhancementOptions
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.fields.speech.sound import FULL, Sound
from modelcommons.workbench.task import BadRow, Reading, Row, Source

DIGEST = re.compile(r"#[0-9a-f]{16}$")  # see formats.cells.names_of
RECORDED = "recorded"  # the noise of a pair
STEP_DB = 5  # that the ratios of recorded pairs are rounded to


@dataclass(frozen=True, slots=True)
class Clean:
    """What is right: the voice alone, and what was done to it."""

    sound: Sound
    noise: str  # its kind
    snr_db: int


class Heard(Protocol):
    """Rows of a part; `Row.x` is the `Sound` in noise, `Row.y` its `Clean`."""

    rate_hz: int

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...
    def ids(self) -> Iterable[str]: ...
    def take(self, indices: np.ndarray) -> Self: ...
    @property
    def lengths(self) -> np.ndarray:
        """Samples of each recording, int64 (rows,)."""

    def piece(self, index: int, num_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A stretch in noise and clean, float32 (num_samples,) each, anew each time: for training."""


class Mixtures:
    """Clean recordings, each in one noise or more."""

    def __init__(self, part: Clips, options: EnhancementOptions, each: bool, index: np.ndarray | None = None) -> None:
        """
        Args:
            part: whose other voices make the babble of its rows; never those of another part.
            each: one row for each recording and noise, for held-out parts; else one for each recording.
            index: rows that are left.
        """
        self._part, self._options, self._each = part, options, each
        self._times = len(options.noises) if each else 1
        self.index = np.arange(len(part) * self._times) if index is None else index
        self.rate_hz = part.rate_hz
        if "babble" in options.noises and len(part) < 2:
            raise DataError("Expected at least 2 recordings in every part to make babble of, got 1. Give more of them.")

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Row:
        at, which = divmod(int(self.index[index]), self._times)
        row = self._part[at]
        kinds, ratios = self._options.noises, self._options.snrs_db
        if not self._each:
            which = int(shares([row.id])[0, 0] * len(kinds))
        name = f"{row.id}+{kinds[which]}"
        chosen = int(shares([name])[0, 0] * len(ratios))
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
        made = noise(kinds[which], len(row.x.samples), self.rate_hz, self._draw(at, np.arange(len(self._part))), rng)
        sound = Sound(mixed(row.x.samples, made, ratios[chosen]), self.rate_hz)
        return Row(name if self._each else row.id, sound, Clean(row.x, kinds[which], ratios[chosen]), row.group)

    def ids(self) -> Iterable[str]:
        names = list(self._part.ids())
        for at in self.index.tolist():
            recording, which = divmod(at, self._times)
            yield f"{names[recording]}+{self._options.noises[which]}" if self._each else names[recording]

    def take(self, indices: np.ndarray) -> Mixtures:
        return Mixtures(self._part, self._options, self._each, self.index[np.asarray(indices, np.int64)])

    @property
    def lengths(self) -> np.ndarray:
        return np.asarray(self._part.lengths[self.index // self._times])

    def piece(self, index: int, num_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Noise of any kind and ratio; babble of what is left in this part only."""
        at = int(self.index[index]) // self._times
        clean = placed(self._part.sound(at).samples, num_samples, rng.random())
        kind: Kind = self._options.noises[int(rng.integers(len(self._options.noises)))]
        made = noise(kind, num_samples, self.rate_hz, self._draw(at, self._left), rng)
        ratio = rng.uniform(min(self._options.snrs_db), max(self._options.snrs_db))
        # the ratio is that of the voice, not of the voice and the silence around it
        silence = 10 * np.log10(min(1.0, int(self._part.lengths[at]) / num_samples))
        return mixed(clean, made, ratio + silence) / np.float32(FULL), clean / np.float32(FULL)

    @cached_property
    def _left(self) -> np.ndarray:
        return np.unique(self.index // self._times)

    @cached_property
    def _speakers(self) -> np.ndarray:
        """Who speaks in each recording, (recordings,); each its own speaker where nobody says."""
        return np.array([row.group or row.id for row in self._part])

    def _draw(self, at: int, recordings: np.ndarray) -> Draw:
        """Others of these recordings: of other speakers, where there are any."""
        others = recordings[self._speakers[recordings] != self._speakers[at]]
        others = others if len(others) else recordings[recordings != at]

        def draw(rng: np.random.Generator) -> np.ndarray:
            return self._part.sound(int(others[rng.integers(len(others))])).samples / FULL

        return draw


class Pairs:
    """Recordings in noise beside the same without it."""

    def __init__(self, clean: Clips, noisy: Clips) -> None:
        self._clean, self._noisy, self.rate_hz = clean, noisy, clean.rate_hz

    def __len__(self) -> int:
        return len(self._clean)

    def __getitem__(self, index: int) -> Row:
        clean, noisy = self._clean[index], self._noisy[index]
        ratio = STEP_DB * round(si_sdr(noisy.x.samples, clean.x.samples) / STEP_DB)
        return Row(_both(clean.id, noisy.id), noisy.x, Clean(clean.x, RECORDED, ratio), clean.group)

    def ids(self) -> Iterable[str]:
        return map(_both, self._clean.ids(), self._noisy.ids())

    def take(self, indices: np.ndarray) -> Pairs:
        return Pairs(self._clean.take(indices), self._noisy.take(indices))

    def moments(self) -> np.ndarray:
        return self._clean.moments()

    @property
    def lengths(self) -> np.ndarray:
        return self._clean.lengths

    def piece(self, index: int, num_samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        where = rng.random()
        noisy, clean = (clips.sound(index).samples / np.float32(FULL) for clips in (self._noisy, self._clean))
        return placed(noisy, num_samples, where), placed(clean, num_samples, where)


def placed(samples: np.ndarray, num_samples: int, where: float) -> np.ndarray:
    """A stretch of a longer recording, or a shorter one amid silence; `where` of the free play is before it, 0 to 1."""
    spare = round(where * abs(num_samples - len(samples)))
    if len(samples) >= num_samples:
        return samples[spare : spare + num_samples]
    return np.pad(samples, (spare, num_samples - len(samples) - spare))


# --- reading --------------------------------------------------------------------------------------------------------


def read(source: Source, columns: Mapping[str, str], options: EnhancementOptions) -> Reading:
    """Clean recordings (`Clips`), or `Pairs` where the recipe names a column `noisy` too.

    Raises:
        DataError: no column of recordings is found, or nothing can be used.
    """
    clean = {role: name for role, name in columns.items() if role != "noisy"}
    found = reading.read(source, clean, options.rate, None)
    parts: dict[str, Clips | Pairs] = {}
    bad: list[BadRow] = []
    if "noisy" in columns:
        rate_hz = next(iter(found.parts.values())).rate_hz  # type: ignore[attr-defined]
        noisy = reading.read(source, {**clean, "audio": columns["noisy"]}, rate_hz, None)
        for split, part in found.parts.items():
            parts[split], unequal = paired(part, noisy.parts[split])  # type: ignore[arg-type]
            bad += unequal
        columns_read = [replace(one, role="noisy") if one.name == columns["noisy"] else one for one in found.columns]
        found = replace(found, columns=tuple(columns_read))
    else:
        parts.update(found.parts)  # type: ignore[arg-type]
    for split, part in parts.items():
        silent = np.array([not _clean_of(part, at).any() for at in range(len(part))], bool)
        names = list(part.ids())
        bad += [BadRow(names[at], "expected a recording, got silence") for at in np.flatnonzero(silent).tolist()]
        parts[split] = part.take(np.flatnonzero(~silent)) if silent.any() else part
    all_bad = (*found.bad, *bad)
    if not any(map(len, parts.values())):
        raise DataError(f"None of the recordings can be used; {all_bad[0].where}: {all_bad[0].reason}. Get them again.")
    return replace(found, parts=parts, bad=all_bad[:5], num_bad=found.num_bad + len(bad))


def _clean_of(part: Clips | Pairs, index: int) -> np.ndarray:
    return np.asarray(part.sound(index).samples if isinstance(part, Clips) else part[index].y.sound.samples)


def paired(clean: Clips, noisy: Clips) -> tuple[Pairs, list[BadRow]]:
    """Recordings that both can be read and are equally long, and those that are not."""
    place = {name: at for at, name in enumerate(map(_bare, noisy.ids()))}
    both, bad = [], []
    for at, name in enumerate(clean.ids()):
        other = place.get(_bare(name))
        if other is None:
            bad.append(BadRow(_bare(name), "expected the same recording in noise too, it cannot be read"))
        elif clean.lengths[at] != noisy.lengths[other]:
            lengths = f"{int(clean.lengths[at]):,} and {int(noisy.lengths[other]):,}"
            bad.append(BadRow(_bare(name), f"expected two recordings of the same length, got {lengths} samples"))
        else:
            both.append((at, other))
    indices = np.array(both, np.int64).reshape(-1, 2)
    return Pairs(clean.take(indices[:, 0]), noisy.take(indices[:, 1])), bad


def _bare(name: str) -> str:
    """An id without the digest of the file that a path led to."""
    return DIGEST.sub("", name)


def _both(clean: str, noisy: str) -> str:
    """The id of a pair: that of the clean recording, with the digest of the noisy one where a path led to it."""
    return clean + noisy[len(_bare(noisy)) :]


def known_speakers(train: Clips, test: Clips) -> tuple[int, int]:
    """How many speakers of the test also speak in training, and how many the test has."""
    known, asked = ({row.group for row in part if row.group} for part in (train, test))
    return len(known & asked), len(asked)
