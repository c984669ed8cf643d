"""sections: everything that card and report say, once, as values; the two templates only lay it out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from modelcommons.formats import card
from modelcommons.formats.licence import Decision
from modelcommons.formats.receipt import Interval, Receipt, Result
from modelcommons.workbench.engine.scoring import Score
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.evaluate import Evaluated, energy_wh
from modelcommons.workbench.stages.explain import Explained, ExplainedRow
from modelcommons.workbench.stages.get import Got, Origin
from modelcommons.workbench.stages.prepare import Prepared
from modelcommons.workbench.stages.report import plots
from modelcommons.workbench.stages.report.words import WORDS, told
from modelcommons.workbench.stages.shrink import Export, Shrunk
from modelcommons.workbench.stages.tune import Tuned

MOST_ROWS = 40  # of a table of classes or slices; the rest is counted


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run came to, as far as a reader of its card may want to know."""

    title: str
    address: str  # how others name the model: its repository, or its folder
    url: str | None  # where the repository will be read
    recipe: Recipe
    got: Got
    data: Prepared
    tuned: Tuned
    scored: Evaluated
    explained: Explained
    shrunk: Shrunk
    decision: Decision
    receipts: Mapping[str, Receipt]  # of every evaluation that is shipped, by its name
    version: str
    has_transformers: bool  # the folder loads with transformers alone
    num_private: int = 0  # explained rows that are not shown, because personal data were found in them
    figures: tuple[tuple[str, str], ...] = ()  # (title, SVG) of the task's own
    caution: str = ""  # the task's own, where it has one
    carried: tuple[str, ...] = ()  # files of the model that hold training rows as they are

    @property
    def origin(self) -> Origin | None:
        return self.got.origins[self.tuned.choice.index]

    @property
    def receipt(self) -> Receipt:
        """Of the model itself."""
        return self.receipts[self.scored.main.name]

    @property
    def language(self) -> str:
        return self.recipe.publish.language


class Mono(str):
    """A cell of a table in a fixed-width font: a path, a digest, a setting."""


@dataclass(frozen=True, slots=True)
class Text:
    """Our words with strangers' values in them; a template escapes the values for its own language."""

    words: str
    values: Mapping[str, object] = field(default_factory=dict)
    tone: str = "plain"  # plain, note, warning


@dataclass(frozen=True, slots=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Code:
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """For the report only: Markdown readers strip SVG, so the card does not have it drawn."""

    title: str
    draw: Callable[[], str]  # -> SVG


@dataclass(frozen=True, slots=True)
class Example:
    """An explained row, for the report only; `html` is escaped by the field that drew it."""

    title: str
    html: str


Block = Text | Table | Items | Code | Picture | Example


@dataclass(frozen=True, slots=True)
class Section:
    name: str  # anchor
    title: str
    blocks: tuple[Block, ...]


def sections(facts: Facts) -> list[Section]:
    """In the order in which a sceptical reader asks."""
    w = WORDS[facts.language]
    told = [
        ("scores", w["evaluate"], _scores(facts, w)),
        ("seeds", w["seeds"], _seeds(facts, w)),
        ("slices", w["slices"], _slices(facts, w)),
        ("disturbed", w["disturbed"], _disturbed(facts, w)),
        ("check", w["check"], _check(facts, w)),
        ("use", w["use"], _use(facts, w)),
        ("data", w["prepare"], _data(facts, w)),
        ("training", w["tune"], _training(facts, w)),
        ("explanations", w["explain"], _explanations(facts, w)),
        ("exports", w["shrink"], _exports(facts, w)),
        ("licence", w["licence_title"], _licence(facts, w)),
        ("machine", w["environment"], _machine(facts, w)),
        ("limits", w["not_shown"], _limits(facts, w)),
    ]
    found = [Section(name, title, tuple(blocks)) for name, title, blocks in told]
    return [section for section in found if section.blocks]


def summary(facts: Facts) -> Text:
    """One sentence: what it is and what it was made from."""
    w = WORDS[facts.language]
    values = {
        "task": facts.recipe.task,
        "architecture": facts.tuned.choice.name,
        "base": facts.origin.name if facts.origin else "",
        "data": facts.got.source.name,
    }
    return Text(w["made_from" if facts.origin else "made_new"], values)


def headline(facts: Facts) -> Text:
    """The main metric with its interval, its baseline and its rows."""
    w, first = WORDS[facts.language], facts.receipt.predicate.results[0]
    values = {
        "metric": first.metric, "value": number(first.value), "interval": interval(first.ci95),
        "baseline": number(first.baseline), "baseline_name": told(facts.scored.main.baseline_name, w),
        "rows": count(facts.receipt.predicate.predictions.count),
    }  # fmt: skip
    return Text(w["one_number"], values)


def receipt_path(name: str) -> str:
    """Where the receipt of an evaluation stands in the model folder."""
    return f"receipts/{name}.json"


# --- numbers --------------------------------------------------------------------------------------------------------


def number(value: str | float) -> str:
    """Four decimals where that tells something, so that a column can be compared; else four significant digits."""
    value = float(value)
    if not np.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "?"
    return f"{value:.4f}" if 0.001 <= abs(value) < 10 or not value else f"{value:.4g}"


def count(value: int) -> str:
    return f"{value:,}"


def size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:,.1f} kB"


def duration(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def interval(of: Score | Interval) -> str:
    return f"[{number(of.low)}, {number(of.high)}]"


def as_score(result: Result) -> Score:
    """What a receipt says, as numbers."""
    low, high = float(result.ci95.low), float(result.ci95.high)
    return Score(result.metric, float(result.value), result.direction, low, high, result.ci95.method)


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _equal(value: str) -> str:
    return value if value.startswith("<") else f"= {value}"


# --- sections -------------------------------------------------------------------------------------------------------

Words = Mapping[str, str]


def _scores(facts: Facts, w: Words) -> Iterator[Block]:
    main = facts.scored.main
    head = (w["metric"], w["value"], w["interval"], w["baseline"], w["better"], w["receipt"])
    path = Mono(receipt_path(main.name))
    rows = [
        (Mono(r.metric), number(r.value), interval(r.ci95), number(r.baseline), w[r.direction], path)
        for r in facts.receipt.predicate.results
    ]
    yield Table(head, rows)
    how, floor = told(facts.data.parts.how or "test", w), told(main.baseline_name, w)
    yield Text(w["scored_on"], {"rows": count(main.num_rows), "how": how, "baseline_name": floor}, "note")
    if facts.recipe.evaluate.protocol:
        yield Text(w["protocol"], {"protocol": facts.recipe.evaluate.protocol}, "note")
    methods = [f"{r.metric} {r.ci95.method}" for r in facts.receipt.predicate.results]
    yield Text(w["methods"], {"methods": "; ".join(methods)}, "note")
    if main.without_leaked:
        yield Text(w["leaked"], {"count": count(len(facts.data.leaked))}, "warning")
        pairs = [(facts.receipt.results[score.metric], score) for score in main.without_leaked]
        yield Table(
            (w["metric"], w["with_leaked"], w["without_leaked"], w["interval"]),
            [(Mono(a.metric), number(a.value), number(b.value), interval(b)) for a, b in pairs],
        )
    elif "leaks" in facts.data.report and not facts.data.leaked:
        yield Text(w["no_leaked"], {}, "note")
    for title, svg in facts.figures:
        yield Picture(title, partial(str, svg))


def _seeds(facts: Facts, w: Words) -> Iterator[Block]:
    runs = [facts.scored.main, *facts.scored.others]
    if len(runs) < 2:
        return
    together = None
    if facts.tuned.together:
        runs, together = list(facts.scored.others), as_score(facts.receipt.predicate.results[0])
        yield Text(w["together_text"], {"count": len(runs)})
    else:
        yield Text(w["seeds_text"], {"count": len(runs), "seed": facts.scored.main.seed})
    rows = []
    for metric in facts.receipt.results:
        values = np.array([float(facts.receipts[run.name].results[metric].value) for run in runs])
        spread = float(values.std(ddof=1))
        rows.append((Mono(metric), *(number(x) for x in (values.mean(), spread, values.min(), values.max()))))
    yield Table((w["metric"], w["mean"], w["spread"], w["lowest"], w["highest"]), rows)
    receipts = "; ".join(f"{w['seed']} {run.seed}: {receipt_path(run.name)}" for run in runs)
    yield Text(w["receipt"] + ": {receipts}", {"receipts": receipts}, "note")
    scores = {run.seed: as_score(facts.receipts[run.name].predicate.results[0]) for run in runs}
    yield Picture(w["seeds"], partial(plots.seeds, scores, together, w))


def _slices(facts: Facts, w: Words) -> Iterator[Block]:
    main = facts.scored.main
    for name, parts in main.slices.items():
        shown = dict(list(parts.items())[:MOST_ROWS])
        first = {part: scores[0] for part, scores in shown.items()}
        yield Text("{name}. " + w["slices_text"], {"name": name, "metric": main.scores[0].metric})
        rows = [(part, number(score.value), interval(score)) for part, score in first.items()]
        yield Table((w["slice"], main.scores[0].metric, w["interval"]), rows)
        yield from _and_more(len(parts), w)
        yield Picture(f"{w['slices']}: {name}", partial(plots.slices, first, main.scores[0], w))


def _disturbed(facts: Facts, w: Words) -> Iterator[Block]:
    main = facts.scored.main
    if not main.disturbed:
        return
    first = {name or w["undisturbed"]: scores[0] for name, scores in main.disturbed.items()}
    whole, *_ = first.values()
    yield Text(w["disturbed_text"], {"metric": whole.metric, "count": count(main.num_disturbed)})
    rows = [(name, number(score.value), interval(score)) for name, score in first.items()]
    yield Table((w["disturbance"], whole.metric, w["interval"]), rows)
    yield Picture(w["disturbed"], partial(plots.slices, first, whole, w))


def _and_more(total: int, w: Words) -> Iterator[Text]:
    if total > MOST_ROWS:
        yield Text(w["more_classes"], {"count": count(total - MOST_ROWS)}, "note")


def _check(facts: Facts, w: Words) -> Iterator[Block]:
    yield Text(w["check_text"])
    here = "." if facts.url is None else facts.address
    yield Code(f"commons verify {here}" + (f"   # {w['check_where']}" if facts.url is None else ""), "sh")
    yield Text(w["signer"], {"fingerprint": facts.receipt.fingerprint}, "note")
    if not facts.decision.quotes:
        yield Text(w["quotes_left_out"], {}, "warning")


def _use(facts: Facts, w: Words) -> Iterator[Block]:
    yield Text(w["use_mc"])
    yield Code(f'import modelcommons as mc\n\nmodel = mc.load("{facts.address}")\nmodel.predict(...)', "python")
    if facts.has_transformers:
        yield Text(w["use_transformers"])
        tag = card.PIPELINE_TAGS.get(facts.recipe.task, facts.recipe.task)
        call = f'pipeline("{tag}", model="{facts.address}")'
        yield Code(f"from transformers import pipeline\n\nmodel = {call}\nmodel(...)", "python")


def _data(facts: Facts, w: Words) -> Iterator[Block]:
    source, found = facts.got.source, facts.data.report
    about = [(w["source"], source.name), (w["revision"], source.revision), (w["licence"], source.licence or "?")]
    about += [("", source.homepage), (w["sha256"], Mono(source.sha256)), (w["split"], told(found["split"], w))]
    yield Table(("", ""), [(name, value) for name, value in about if value])
    parts = ("train", "validation", "test")
    rows = [(w[part], count(found["rows"][part]), Mono(found["ids_sha256"][part])) for part in parts]
    yield Table((w["part"], w["rows"], w["ids"]), rows)
    yield Table((w["checked"], w["found"]), list(_checks(facts.recipe, found, w)))
    if found["bad"] and facts.decision.quotes:  # a reason may quote a cell
        yield Text(w["bad_shown"], {"count": count(found["rows"]["bad"])}, "note")
        yield Table((w["where"], w["reason"]), [(bad["where"], bad["reason"]) for bad in found["bad"]])
    if found.get("personal_data", {}).get("hits"):
        yield Text(w[f"personal_{found['personal_data']['policy']}"], {}, "warning")
    if found.get("classes"):
        yield from _classes(found["classes"], w)
    if found.get("unseen_classes"):
        yield Text(w["unseen"], {"classes": ", ".join(found["unseen_classes"][:MOST_ROWS])}, "warning")
    if found["notes"] or source.notes:
        yield Items([*found["notes"], *([source.notes] if source.notes else [])])


def _checks(recipe: Recipe, found: Mapping[str, Any], w: Words) -> Iterator[tuple[str, str]]:
    """What was looked for in the data, and how often it was found; what was not looked for is said too."""
    asked = recipe.data.checks
    doubles, leaks, personal = (found.get(name, {}) for name in ("duplicates", "leaks", "personal_data"))
    yield w["bad_rows"], f"{count(found['rows']['bad'])} / {count(found['rows']['read'])}"
    yield w["exact_duplicates"], _times_found(doubles.get("exact"), "duplicates" in asked, w)
    yield w["near_duplicates"], _times_found(doubles.get("near"), "duplicates" in asked, w)
    yield w["leaks"], _times_found(leaks.get("exact"), "leaks" in asked, w)
    yield w["near_leaks"], _times_found(leaks.get("near"), "leaks" in asked, w)
    if personal.get("hits"):
        for kind, times in personal["hits"].items():
            yield w["personal_data"].format(kind=w.get(f"kind_{kind}", kind)), count(times)
    else:
        yield (
            w["personal_data"].format(kind="").rstrip(":： "),
            _times_found(0 if personal else None, bool(personal), w),
        )


def _times_found(times: int | None, asked: bool, w: Words) -> str:
    return w["not_checked"] if times is None or not asked else count(times)


def _classes(counts: Mapping[str, Mapping[str, int]], w: Words) -> Iterator[Block]:
    parts = [part for part in ("train", "validation", "test") if part in counts]
    labels = sorted(
        {label for part in parts for label in counts[part]}, key=lambda label: -counts["train"].get(label, 0)
    )
    rows = [(label, *(count(counts[part].get(label, 0)) for part in parts)) for label in labels[:MOST_ROWS]]
    yield Table((w["class"], *(w[part] for part in parts)), rows)
    yield from _and_more(len(labels), w)


def _training(facts: Facts, w: Words) -> Iterator[Block]:
    fit = facts.tuned.trained[facts.tuned.chosen].fit
    values = {
        "steps": count(fit.steps), "epochs": f"{fit.epochs:.3g}", "rate": count(round(fit.rows_per_second)),
        "parameters": count(fit.parameters), "trained": count(fit.trained_parameters),
    }  # fmt: skip
    yield Text(w["tune_text" if fit.steps else "closed_form"], values)
    if fit.stopped != "done":
        yield Text(w[f"stopped_{fit.stopped}"])
    if fit.more:
        yield Text("{more}", {"more": told(fit.more, w)}, "note")
    if facts.tuned.tried:
        yield Text(w["tried"] + ":")
        rows = [(Mono(_named(t.name, t.options)), number(t.value), f"{t.seconds:.1f}") for t in facts.tuned.tried]
        yield Table((w["candidate"], f"{fit.metric} ({w['validation']})", w["seconds"]), rows)
    if fit.settings:
        yield Table((w["setting"], w["value"]), [(Mono(key), Mono(value)) for key, value in fit.settings.items()])
    fits = {trained.seed: trained.fit for trained in facts.tuned.trained}
    if max(len(fit.curve) for fit in fits.values()) > 1:
        chosen = None if facts.tuned.together else facts.tuned.trained[facts.tuned.chosen].seed
        yield Picture(w["curve"], partial(plots.learning_curve, fits, chosen, w))


def _named(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} {dict(options)}" if options else name


def _explanations(facts: Facts, w: Words) -> Iterator[Block]:
    explained, test = facts.explained, facts.explained.deletion
    if explained.skipped:
        yield Text(w["skipped"], {"why": told(explained.skipped, w)}, "note")
    if test is not None:
        values = {
            "count": test.examples, "named": number(test.named), "random": number(test.random),
            "p": _equal(p_value(test.p_value)), "wins": test.wins,
        }  # fmt: skip
        yield Text(w["deletion"], values)
        if not test.holds:
            yield Text(w["deletion_fails"], {}, "warning")
    if facts.num_private:
        yield Text(w["spared"], {"count": facts.num_private}, "note")
    if facts.decision.quotes and any(_strongest(example) for example in explained.examples):
        rows = [(example.id, example.answer, example.target, _strongest(example)) for example in explained.examples]
        yield Table((w["example"], w["answer"], w["target"], w["features"]), rows)
    for example in explained.examples:
        target = f" · {w['target']}: {example.target}" if example.target else ""
        yield Example(f"{example.id} · {w['answer']}: {example.answer}{target}", example.html)


def _strongest(example: ExplainedRow) -> str:
    """By name; a `part 12` of a picture says nothing without the picture."""
    names = [feature.name for feature in example.top if feature.weight > 0]
    return ", ".join(name for name in names if not re.fullmatch(r"part \d+", name))


def _exports(facts: Facts, w: Words) -> Iterator[Block]:
    if facts.shrunk.skipped:
        yield Text(w["skipped"], {"why": told(facts.shrunk.skipped, w)}, "note")
    if not facts.shrunk.exports:
        return
    yield Text(w["shrink_text"])
    metric = facts.scored.main.scores[0].metric
    head = (w["file"], w["size"], w["latency"], metric, w["interval"], w["changed"], w["p_value"], "")
    yield Table(head, [_parent(facts, w), *(_export(facts, export, w) for export in facts.shrunk.exports)])
    for export in facts.shrunk.exports:
        if export.why:
            yield Text("{file}: {why}", {"file": export.path, "why": export.why}, "note")


def _parent(facts: Facts, w: Words) -> Sequence[str]:
    export, first = facts.shrunk.exports[0], facts.receipt.predicate.results[0]
    times = _times(export.parent_latency_ms)
    return (w["parent"], size(export.parent_size_bytes), times, number(first.value), interval(first.ci95), "", "", "")


def _export(facts: Facts, export: Export, w: Words) -> Sequence[str]:
    own = facts.receipts.get(export.evaluation.name)  # what is not shipped has none here
    first = as_score(own.predicate.results[0]) if own else export.evaluation.scores[0]
    state = w["shipped"] if export.accepted else w["refused"]
    return (
        Mono(export.path), size(export.size_bytes), _times(export.latency_ms), number(first.value), interval(first),
        f"{count(export.changed)} / {count(export.evaluation.num_rows)}", p_value(export.p_value), state,
    )  # fmt: skip


def _times(latency: Mapping[str, float]) -> str:
    return " / ".join(f"{latency[batch]:.2f}" for batch in sorted(latency, key=int))


def _licence(facts: Facts, w: Words) -> Iterator[Block]:
    yield Text(w["licence_text"], {"name": f"{facts.decision.name} ({facts.decision.license})"})
    rows = [(w["data"], facts.got.source.name, facts.got.source.licence or "?")]
    if facts.origin:
        rows.insert(0, (w["base_model"], facts.origin.name, facts.origin.licence or "?"))
    yield Table((w["role"], w["source"], w["licence"]), rows)
    if facts.decision.obligations:
        yield Text(w["obligations"])
        yield Items(facts.decision.obligations)
    else:
        yield Text(w["nothing_asked"])
    yield Text(w["no_advice"], {}, "note")


def _machine(facts: Facts, w: Words) -> Iterator[Block]:
    yield Table(
        ("", w["value"]),
        [(Mono(key), _flat(value)) for key, value in facts.receipt.predicate.inputs.environment.items()],
    )
    tune = duration(sum(trained.fit.seconds for trained in facts.tuned.trained))
    yield Text(w["cost_text"], {"tune": tune, "evaluate": duration(facts.scored.main.seconds)})
    rows = _energy(facts, w)
    if rows:
        yield Table((w["work"], "Wh", w["band"], w["method"]), rows)
        yield Text(w["energy_text"], {}, "note")


def _energy(facts: Facts, w: Words) -> list[tuple[str, ...]]:
    """What training and scoring drew, as the receipt says it, and what else was done."""
    explained = facts.explained.energy if facts.explained.examples else None
    shrunk = facts.shrunk.energy if facts.shrunk.exports else None
    drawn = {
        "training": facts.receipt.energy("trainingEnergyWh"),
        "scoring": facts.receipt.energy(),
        "explaining": explained and energy_wh(explained),
        "shrinking": shrunk and energy_wh(shrunk),
    }
    return [(w[name], each.value, told(each.band, w), told(each.method, w)) for name, each in drawn.items() if each]


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    return ", ".join(map(_flat, value)) if isinstance(value, list | tuple) else str(value)


def _limits(facts: Facts, w: Words) -> Iterator[Block]:
    said = ["public_test", "not_good", "not_elsewhere"]
    said += ["explanations_limit"] if facts.explained.examples else []
    said += ["personal_limit"] if "personal-data" in facts.recipe.data.checks else []
    carried = w["carried"].format(files=", ".join(facts.carried)) if facts.carried else ""
    yield Items([*filter(None, [facts.caution, carried]), *(w[key] for key in (*said, "unmeasured"))])
