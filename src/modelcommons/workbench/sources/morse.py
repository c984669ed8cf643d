"""Morse code as sound: every letter and figure keyed many times, at any speed and pitch, in noise.

No package brings recordings along, so these are made: the first recipe for sound needs no download either. Signs and
rhythm are those of Recommendation ITU-R M.1677-1 (2009); everything else comes from one seed.
"""

from __future__ import annotations

import io
import math
import random
import struct
import wave
from collections.abc import Iterator

RATE = 4_000  # samples a second
EACH = 16  # recordings of a sign
MESSAGES = 160
WORDS_PER_MINUTE = (18, 30)  # a dot lasts 1.2 seconds over them
PITCH = (400.0, 900.0)  # Hz
WORDS = ("north", "south", "east", "west", "ship", "ice", "fog", "wind", "need", "help", "come", "safe")
EDGE = 20  # samples over which a tone comes and goes

SIGNS = {
    "a": ".-", "b": "-...", "c": "-.-.", "d": "-..", "e": ".", "f": "..-.", "g": "--.", "h": "....", "i": "..",
    "j": ".---", "k": "-.-", "l": ".-..", "m": "--", "n": "-.", "o": "---", "p": ".--.", "q": "--.-", "r": ".-.",
    "s": "...", "t": "-", "u": "..-", "v": "...-", "w": ".--", "x": "-..-", "y": "-.--", "z": "--..", "0": "-----",
    "1": ".----", "2": "..---", "3": "...--", "4": "....-", "5": ".....", "6": "-....", "7": "--...", "8": "---..",
    "9": "----.",
}  # fmt: skip


def recordings() -> Iterator[tuple[str, bytes]]:
    """Path and bytes of single signs: `a/00.wav`, one channel of 16 bits."""
    chance = random.Random(1844)
    for sign in SIGNS:
        for number in range(EACH):
            yield f"{sign}/{number:02}.wav", wav(keyed(sign, chance))


def messages() -> Iterator[tuple[str, bytes]]:
    """One or two words each, and a table of what they say."""
    chance = random.Random(1865)
    lines = ["audio,text"]
    for number in range(MESSAGES):
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 2)))
        lines.append(f"wav/{number:03}.wav,{text}")
        yield f"wav/{number:03}.wav", wav(keyed(text, chance))
    yield "messages.csv", ("\n".join(lines) + "\n").encode()


def keyed(text: str, chance: random.Random) -> list[float]:
    """Letters, figures and blanks at a speed, pitch, loudness and noise of their own; samples between -1 and 1.

    A dot lasts one unit, a dash three, silence within a sign one, between signs three, between words seven.
    """
    dot = round(1.2 / chance.uniform(*WORDS_PER_MINUTE) * RATE)  # samples
    step = 2 * math.pi * chance.uniform(*PITCH) / RATE
    loud, noise = chance.uniform(0.2, 0.7), chance.uniform(0.01, 0.05)
    envelope = [0.0] * dot
    for sign in text:
        for mark in SIGNS.get(sign, ""):
            length = dot if mark == "." else 3 * dot
            envelope += [min(1.0, (at + 1) / EDGE, (length - at) / EDGE) for at in range(length)] + [0.0] * dot
        envelope += [0.0] * (2 * dot if sign in SIGNS and len(text) > 1 else 4 * dot if sign == " " else 0)
    return [loud * height * math.sin(step * at) + noise * chance.uniform(-1, 1) for at, height in enumerate(envelope)]


def wav(samples: list[float]) -> bytes:
    """One channel of 16 bits at `RATE`, of samples between -1 and 1."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(struct.pack(f"<{len(samples)}h", *(round(32_767 * value) for value in samples)))
    return out.getvalue()
