"""explaining: which words of question and context an answer rests on, by leaving each out."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.fields.text.explain import spans, without
from modelcommons.workbench.fields.text.spans.questions import Asked
from modelcommons.workbench.fields.text.spans.reader import Reader
from modelcommons.workbench.task import Attribution, Row

AROUND = 240  # characters before and behind the answer, whose words are weighed

Place = tuple[int, int]  # where a stretch begins and ends, characters


class Explainer:
    """Features are the words of the question, then those of the context around the answer, the answer's own not."""

    def __init__(self, model: Reader) -> None:
        self._model = model
        self._seen: dict[str, Place] = {}

    def attribute(self, row: Row) -> Attribution:
        """By how many nats the model's own answer gets less likely without each word."""
        asked, place = row.x, self._answer(row)
        of_question, of_context = _words(asked, place)
        count = len(of_question) + len(of_context)
        told = asked.context[slice(*place)] or "no answer"
        if not count:
            return Attribution(np.zeros(1), ("",), method="nothing to leave out", answer=told)
        found = self.strength(row, [np.array([], np.int64), *(np.array([at]) for at in range(count))])
        names = [asked.question[a:b] for a, b in of_question] + [asked.context[a:b] for a, b in of_context]
        return Attribution(
            found[0] - found[1:], tuple(names), method="leaving out each word (occlusion)", answer=told
        )  # fmt: skip

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Log-probability of the original answer, for each trial."""
        asked, place = row.x, self._answer(row)
        of_question, of_context = _words(asked, place)
        trials, places = [], []
        for indices in removed:
            from_question = indices[indices < len(of_question)]
            from_context = indices[indices >= len(of_question)] - len(of_question)
            from_context = from_context[from_context < len(of_context)]
            gone = sum(of_context[at][1] - of_context[at][0] for at in from_context if of_context[at][1] <= place[0])
            trials.append(
                Asked(
                    without(asked.question, of_question, from_question),
                    without(asked.context, of_context, from_context),
                )
            )
            places.append((place[0] - gone, place[1] - gone))
        return self._model.log_probabilities(trials, places)

    def show(self, row: Row, attribution: Attribution) -> str:
        """Question and context, words for the answer on blue and against it on orange; the answer itself bold."""
        asked, place = row.x, self._answer(row)
        of_question, of_context = _words(asked, place)
        weights = attribution.weights.tolist()
        most = max(1e-12, float(np.abs(attribution.weights).max()))
        marked = [(word, weight / most) for word, weight in zip(of_context, weights[len(of_question) :], strict=False)]
        first = _painted(
            asked.question, [(w, each / most) for w, each in zip(of_question, weights, strict=False)], (0, 0)
        )
        return f'<p class="text"><i>{first}</i></p><p class="text">{_painted(asked.context, marked, place)}</p>'

    def _answer(self, row: Row) -> Place:
        if row.id not in self._seen:
            found = self._model.find([row.x])[0]
            self._seen[row.id] = found.start, found.end
        return self._seen[row.id]


def _words(asked: Asked, place: Place) -> tuple[list[Place], list[Place]]:
    """Words of the question, and of the context near the answer but not in it."""
    begin, end = max(0, place[0] - AROUND), place[1] + AROUND
    near = [(a + begin, b + begin) for a, b in spans(asked.context[begin:end])]
    return spans(asked.question), [(a, b) for a, b in near if b <= place[0] or a >= place[1]]


def _painted(text: str, marked: Sequence[tuple[Place, float]], bold: Place) -> str:
    """The text with its words on the colour of their share, -1 to 1."""
    pieces, end = [], 0
    styles = [
        ((a, b), f"background:rgba({'37,99,235' if s > 0 else '234,88,12'},{abs(s) * 0.55:.2f})")
        for (a, b), s in marked
    ]
    styles += [(bold, "font-weight:bold")] if bold[0] < bold[1] else []
    for (start, stop), style in sorted(styles):
        pieces += [html.escape(text[end:start]), f'<span style="{style}">{html.escape(text[start:stop])}</span>']
        end = stop
    return f"{''.join(pieces)}{html.escape(text[end:])}"
