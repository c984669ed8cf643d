"""licence: what the licences of base model and data ask of a model made from them. Not legal advice.

The table holds every identifier that the Hub knows, and a few that only data carry. What is not in it is unknown, and
unknown never becomes allowed. Where lawyers disagree the cautious reading is taken:

- Non-commercial and share-alike terms of *data* are treated as if the model were made from the data, so they flow on.
  Where a licence itself frees the results of computing on the data (CDLA, C-UDA) they do not.
- A no-derivatives licence of *data* does not forbid to publish a model, which holds none of the data; but predictions
  with targets, and a report with examples, quote the data in another form: they stay at home.
- Data that came without a licence may be measured on (`measurement-only`); what comes of it is not uploaded.
- A no-derivatives licence of the *base model* forbids to publish anything adapted from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modelcommons.errors import LicenceError

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Licence:
    """One licence: what it lets people do with what is made from a work under it."""

    id: str  # the Hub's identifier; our own where the Hub has none
    name: str
    on_hub: bool = True  # the Hub takes `id` as `license:` on a card
    known: bool = True  # False: nothing can be concluded (`other`, `unknown`, a family whose members differ)
    adapt: bool = True  # what is made from it may be published
    commercial: bool = True
    flow: Literal["free", "alike", "same"] = (
        "free"  # what is made from it: any licence, this or one of `also`, this only
    )
    also: tuple[str, ...] = ()
    credit: bool = True  # authors must be named, notices kept
    results_free: bool = False  # says itself that what is computed from the data is free
    uses: str = ""  # where forbidden uses are listed, which must be passed on
    prefix: str = ""  # the name of a derived model must begin with this
    notice: str = ""  # to be shipped word for word
    quote: bool = True  # parts of the data may be passed on in another form (with credit, under the same terms)
    upload: bool = True  # what is made from it may be uploaded


UNKNOWN = Licence("unknown", "an unknown licence", known=False)
OWN = Licence("own", "all rights reserved", on_hub=False, credit=False, quote=False)  # the person's own data
MEASURE = Licence(  # data that nobody gave a licence for: what is measured on them stays here
    "measurement-only", "no licence: for measurement only", on_hub=False, commercial=False, credit=False, quote=False,
    upload=False,
)  # fmt: skip


def _alike(*licences: Licence, also: tuple[str, ...] = ()) -> list[Licence]:
    return [replace(licence, flow="alike", also=also) for licence in licences]


def _plain(names: str) -> list[Licence]:
    """`id: name` lines of licences that ask for credit and nothing else."""
    pairs = (line.partition(":") for line in names.strip().splitlines())
    return [Licence(id.strip(), name.strip()) for id, _, name in pairs]


def _creative_commons() -> Iterator[Licence]:
    """All combinations and versions; share-alike works may move to a later version of the same licence."""
    hub = {"": "2.0 2.5 3.0 4.0", "-sa": "3.0 4.0", "-nc": "2.0 3.0 4.0", "-nd": "4.0", "-nc-nd": "3.0 4.0"}
    hub["-nc-sa"] = "2.0 3.0 4.0"
    words = {"nc": "NonCommercial", "sa": "ShareAlike", "nd": "NoDerivatives"}
    versions = ("1.0", "2.0", "2.5", "3.0", "4.0")
    for terms, known in hub.items():
        parts = terms.split("-")[1:]
        for number, version in enumerate(versions):
            later = tuple(f"cc-by{terms}-{after}" for after in versions[number + 1 :])
            both = later + (("gpl-3.0",) if (terms, version) == ("-sa", "4.0") else ())
            yield Licence(
                f"cc-by{terms}-{version}",
                " ".join(["Creative Commons Attribution", *(words[part] for part in parts), version]),
                on_hub=version in known.split(),
                adapt="nd" not in parts,
                quote="nd" not in parts,
                commercial="nc" not in parts,
                flow="alike" if "sa" in parts else "free",
                also=both if "sa" in parts else (),
            )


def _llama(version: str, prefix: str, note: str = "") -> Licence:
    return Licence(
        f"llama{version}",
        f"Llama {version} Community License",
        flow="same",
        uses="the Llama Acceptable Use Policy; above 700 million monthly users Meta must be asked" + note,
        prefix=prefix,
        notice=f"Llama {version} is licensed under the Llama {version} Community License, "
        "Copyright (c) Meta Platforms, Inc. All Rights Reserved.",
    )


def _research(id: str, name: str) -> Licence:
    return Licence(id, name, commercial=False, flow="same", uses="research only")


def _rail(id: str, name: str) -> Licence:
    return Licence(id, name, flow="same", uses="its list of forbidden uses (attachment A)")


EU = "; nobody in the European Union is granted rights in its multimodal models"

TABLE: dict[str, Licence] = {
    licence.id: licence
    for licence in (
        *_plain("""
            apache-2.0: Apache License 2.0
            mit: MIT License
            afl-3.0: Academic Free License 3.0
            artistic-2.0: Artistic License 2.0
            bsl-1.0: Boost Software License 1.0
            bsd: BSD license family
            bsd-2-clause: BSD 2-Clause License
            bsd-3-clause: BSD 3-Clause License
            bsd-3-clause-clear: BSD 3-Clause Clear License
            ecl-2.0: Educational Community License 2.0
            etalab-2.0: Etalab Open License 2.0
            isc: ISC License
            ms-pl: Microsoft Public License
            ncsa: University of Illinois/NCSA License
            odc-by: Open Data Commons Attribution License
            openmdw-1.0: OpenMDW License Agreement 1.0
            openmdw-1.1: OpenMDW License Agreement 1.1
            postgresql: PostgreSQL License
            zlib: zlib License
            apple-ascl: Apple Sample Code License
        """),
        *(replace(licence, on_hub=False) for licence in _plain("psf-2.0: Python Software Foundation License 2.0")),
        # given to the public: nothing is asked
        Licence("cc0-1.0", "Creative Commons Zero 1.0", credit=False),
        Licence("pddl", "Open Data Commons Public Domain Dedication", credit=False),
        Licence("public-domain", "public domain", credit=False, on_hub=False),
        Licence("unlicense", "The Unlicense", credit=False),
        Licence("wtfpl", "Do What The F*ck You Want To Public License", credit=False),
        # data licences that free what is computed from the data
        Licence("c-uda", "Computational Use of Data Agreement", results_free=True, quote=False),
        Licence("cdla-permissive-1.0", "Community Data License Agreement Permissive 1.0", results_free=True),
        Licence("cdla-permissive-2.0", "Community Data License Agreement Permissive 2.0", results_free=True),
        Licence("cdla-sharing-1.0", "Community Data License Agreement Sharing 1.0", flow="alike", results_free=True),
        # what is made from it stays under the same terms
        *_alike(Licence("agpl-3.0", "GNU Affero General Public License 3.0")),
        *_alike(Licence("gpl", "GNU General Public License family"), also=("gpl-2.0", "gpl-3.0")),
        *_alike(Licence("gpl-2.0", "GNU General Public License 2.0")),
        *_alike(Licence("gpl-3.0", "GNU General Public License 3.0"), also=("agpl-3.0",)),
        *_alike(Licence("lgpl", "GNU Lesser General Public License family"), also=("lgpl-2.1", "lgpl-3.0", "gpl-3.0")),
        *_alike(Licence("lgpl-2.1", "GNU Lesser General Public License 2.1"), also=("gpl-2.0", "gpl-3.0")),
        *_alike(Licence("lgpl-3.0", "GNU Lesser General Public License 3.0"), also=("gpl-3.0", "agpl-3.0")),
        *_alike(
            Licence("epl-1.0", "Eclipse Public License 1.0"),
            Licence("epl-2.0", "Eclipse Public License 2.0"),
            Licence("gfdl", "GNU Free Documentation License family"),
            Licence("lgpl-lr", "Lesser General Public License For Linguistic Resources"),
            Licence("lppl-1.3c", "LaTeX Project Public License 1.3c"),
            Licence("ofl-1.1", "SIL Open Font License 1.1"),
            Licence("osl-3.0", "Open Software License 3.0"),
            Licence("odbl", "Open Database License"),
        ),
        *_alike(Licence("eupl-1.1", "European Union Public License 1.1"), also=("eupl-1.2", "gpl-2.0", "osl-3.0")),
        *_alike(
            Licence("eupl-1.2", "European Union Public License 1.2"),
            also=("gpl-2.0", "gpl-3.0", "agpl-3.0", "osl-3.0", "mpl-2.0", "lgpl-2.1", "lgpl-3.0", "cc-by-sa-3.0"),
        ),
        *_alike(Licence("mpl-2.0", "Mozilla Public License 2.0"), also=("gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0")),
        *_creative_commons(),
        # forbidden uses that must be passed on
        _rail("openrail", "OpenRAIL license family"),
        _rail("openrail++", "Open RAIL++-M License"),
        _rail("bigscience-openrail-m", "BigScience OpenRAIL-M"),
        _rail("creativeml-openrail-m", "CreativeML OpenRAIL-M"),
        _rail("bigscience-bloom-rail-1.0", "BigScience BLOOM RAIL 1.0"),
        _rail("bigcode-openrail-m", "BigCode OpenRAIL-M v1"),
        _llama("2", "", "; not to improve other language models"),
        _llama("3", "Llama 3", "; not to improve other language models"),
        _llama("3.1", "Llama"),
        _llama("3.2", "Llama", EU),
        _llama("3.3", "Llama"),
        _llama("4", "Llama", EU),
        Licence(
            "gemma",
            "Gemma Terms of Use",
            flow="same",
            uses="the Gemma Prohibited Use Policy",
            notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
        ),
        Licence("grok2-community", "Grok 2 Community License", flow="same", uses="the xAI Acceptable Use Policy"),
        _research("h-research", "H Research License"),
        _research("intel-research", "Intel Research Use License"),
        _research("apple-amlr", "Apple Machine Learning Research Model License"),
        _research("deepfloyd-if-license", "DeepFloyd IF Research License"),
        _research("fair-noncommercial-research-license", "FAIR Noncommercial Research License"),
        # nothing can be concluded
        Licence("cc", "Creative Commons license family", known=False),
        Licence("other", "a licence of its own", known=False),
        UNKNOWN,
        OWN,
        MEASURE,
    )
}

SAME_AS = {  # how people and SPDX write it, squeezed -> identifier
    "apache": "apache-2.0", "apache2": "apache-2.0", "apache-2": "apache-2.0", "asl-2.0": "apache-2.0", "expat": "mit",
    "bsd-2": "bsd-2-clause", "bsd-3": "bsd-3-clause", "new-bsd": "bsd-3-clause", "boost": "bsl-1.0",
    "cc0": "cc0-1.0", "cc-zero": "cc0-1.0", "cc-0": "cc0-1.0", "cc-zero-1.0": "cc0-1.0", "pddl-1.0": "pddl",
    "odc-pddl": "pddl", "odc-pddl-1.0": "pddl", "odbl-1.0": "odbl", "odc-odbl": "odbl", "odc-by-1.0": "odc-by",
    "c-uda-1.0": "c-uda", "gplv2": "gpl-2.0", "gplv3": "gpl-3.0", "agplv3": "agpl-3.0", "lgplv3": "lgpl-3.0",
    "gpl-2": "gpl-2.0", "gpl-3": "gpl-3.0", "agpl-3": "agpl-3.0", "lgpl-3": "lgpl-3.0", "gfdl-1.2": "gfdl",
    "gfdl-1.3": "gfdl", "licenseref-public-domain": "public-domain", "publicdomain": "public-domain",
    "pd": "public-domain", "psf": "psf-2.0", "python-2.0": "psf-2.0", "openmdw": "openmdw-1.0",
    "openrail++-m": "openrail++", "openrailplusplus": "openrail++", "openrail-m": "openrail", "etalab": "etalab-2.0",
    "mozilla-2.0": "mpl-2.0", "mozilla-public-2.0": "mpl-2.0", "mpl": "mpl-2.0", "mpl2": "mpl-2.0",
    "gnu-general-3.0": "gpl-3.0", "gnu-general-2.0": "gpl-2.0", "gnu-affero-general-3.0": "agpl-3.0",
    "gnu-lesser-general-3.0": "lgpl-3.0", "gnu-lesser-general-2.1": "lgpl-2.1", "python-software-foundation": "psf-2.0",
}  # fmt: skip


def find(text: str | None) -> Licence:
    """The licence that a card, a package or a person means by `text`; `UNKNOWN` where it is not in the table.

    `A OR B` is the one that asks less, `A AND B` is unknown unless both are the same.
    """
    if not text:
        return UNKNOWN
    if re.search(r"\s(OR|AND)\s", text) and not re.search(r"[()]|\sWITH\s", text):
        either = re.split(r"\s(?:OR|AND)\s", text)
        found = [find(part) for part in either]
        if " AND " in text:
            return found[0] if len({licence.id for licence in found}) == 1 else UNKNOWN
        return min(found, key=lambda licence: (not licence.known, licence.flow != "free", not licence.commercial))
    squeezed = text.casefold() if text.casefold() in TABLE else _squeeze(text)
    return TABLE.get(SAME_AS.get(squeezed, squeezed), UNKNOWN)


def _squeeze(text: str) -> str:
    """`Creative Commons Attribution-ShareAlike 4.0 International` -> `cc-by-sa-4.0`."""
    text = re.sub(r"[\s_/,]+", "-", text.strip().casefold())
    for long, short in (
        ("creative-commons", "cc"), ("attribution", "by"), ("sharealike", "sa"), ("share-alike", "sa"),
        ("noncommercial", "nc"), ("non-commercial", "nc"), ("noderivatives", "nd"), ("noderivs", "nd"),
        ("no-derivatives", "nd"),
    ):  # fmt: skip
        text = text.replace(long, short)
    text = re.sub(
        r"(?<![a-z])(the|license|licence|version|international|unported|deed|public-license)(?![a-z])", "", text
    )
    text = re.sub(r"(-only|-or-later|\+)$", "", text) if not text.startswith("openrail") else text
    text = re.sub(r"-v(?=\d)", "-", text)
    text = re.sub(r"^llama-(?=\d)", "llama", re.sub(r"-+", "-", text).strip("-"))
    return re.sub(r"-(community|universal)$", "", text) if text.startswith(("llama", "cc")) else text


# --- what follows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work:
    """Something a model is made from."""

    name: str  # as people know it: a hub id, `data digits`
    licence: str | None  # as it was found


@dataclass(frozen=True, slots=True)
class Decision:
    """Under which licence a model may be published, and what goes with it; no `license` where there are conflicts."""

    license: str  # the Hub's identifier, `other` where it has none
    license_name: str  # where `license` is `other`
    name: str  # in words
    obligations: tuple[str, ...] = ()  # sentences
    notices: tuple[str, ...] = ()  # to be shipped word for word
    quotes: bool = True  # whether predictions with targets, and examples, may leave the house
    uploads: bool = True  # whether anything may
    conflicts: tuple[str, ...] = ()  # sentences: which, and what to do

    def agreed(self) -> Decision:
        """Itself.

        Raises:
            LicenceError: there are conflicts, or something is unknown.
        """
        if self.conflicts:
            raise LicenceError(" ".join(self.conflicts))
        return self


SENTENCES = {
    "en": {
        "credit": "Name {work} ({licence}) as a source and keep its notices.",
        "commercial": "{work} ({licence}) is not for commercial use, and so is this model.",
        "alike": "Whatever is made from this model stays under {ids}, as {work} asks.",
        "uses": "Pass on with every copy what {licence} forbids: {uses}.",
        "prefix": "The name of a model made from this one begins with '{prefix}'.",
        "quote": "Predictions and report quote {work} ({licence}); they are not uploaded, the author keeps them.",
    },
    "zh": {
        "credit": "请注明来源 {work}（{licence}），并保留其声明。",
        "commercial": "{work}（{licence}）不得用于商业用途，本模型亦然。",
        "alike": "按照 {work} 的要求，由本模型衍生的作品须继续采用 {ids}。",
        "uses": "每次转交时须一并转达 {licence} 所禁止的用途：{uses}。",
        "prefix": "由本模型衍生的模型，其名称须以“{prefix}”开头。",
        "quote": "预测结果与报告引用了 {work}（{licence}）的内容，因此不上传，由作者保存。",
    },
}


def derive(
    base: Sequence[Work], data: Sequence[Work], wish: str = "auto", title: str | None = None, language: Language = "en"
) -> Decision:
    """The licence of a model made from `base` models with `data`.

    `auto` takes the base model's licence, else the data's, where all agree to it, else apache-2.0 or, where commercial
    use is forbidden, cc-by-nc-4.0.

    Args:
        wish: `auto`, or an identifier, which is refused where it allows what a source forbids.
        title: the model's name, where a licence has a rule for names.
    """
    works = [(work, find(work.licence), True) for work in base] + [(work, find(work.licence), False) for work in data]
    conflicts = [sentence for work, licence, is_base in works for sentence in _forbidden(work, licence, is_base, title)]
    if conflicts:
        return Decision("", "", "", conflicts=tuple(conflicts))
    binding = [(work, licence) for work, licence, is_base in works if is_base or not licence.results_free]
    fitting = [choice for choice in _choices(works) if not _objections(choice, binding)]
    if wish == "auto":
        if not fitting:
            return Decision("", "", "", conflicts=(_no_way_out(binding),))
        chosen = fitting[0]
    else:
        chosen = find(wish)
        objections = _objections(chosen, binding)
        if objections:
            way = f" `{fitting[0].id}` would do." if fitting else " Use another base model or other data."
            return Decision("", "", "", conflicts=(f"publish.license: {' '.join(objections)}{way}",))
    return Decision(
        chosen.id if chosen.on_hub else "other",
        "" if chosen.on_hub else chosen.name.replace(" ", "-"),
        chosen.name,
        tuple(_obligations(works, language)),
        tuple(dict.fromkeys(licence.notice for _, licence, is_base in works if is_base and licence.notice)),
        all(licence.quote for _, licence, is_base in works if not is_base),
        all(licence.upload for _, licence, _ in works),
    )


def _forbidden(work: Work, licence: Licence, is_base: bool, title: str | None) -> Iterator[str]:
    """What no choice of licence can mend."""
    if not licence.known:
        what = f"'{work.licence}', from which nothing follows" if work.licence else "unknown"
        way = (
            "Ask its author, or choose a base model with a licence."
            if is_base
            else "Say it in the recipe: `data.license: cc-by-4.0`; `own` if all rights in the data are yours."
        )
        yield f"The licence of the {'base model' if is_base else 'data'} {work.name} is {what}. {way}"
    elif is_base and not licence.adapt:
        yield (
            f"The base model {work.name} is under {licence.id}, which forbids to publish what is adapted from it. "
            "Choose another base model."
        )
    elif is_base and title and not _joined(title.split("/")[-1]).startswith(_joined(licence.prefix)):
        yield (
            f"{licence.id} of {work.name} asks that the name of what is made from it begin with '{licence.prefix}', "
            f"got '{title}'. Change publish.repo or publish.name."
        )


def _joined(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _choices(works: Sequence[tuple[Work, Licence, bool]]) -> list[Licence]:
    """What `auto` may take, the first that fits being taken. The person's own data ask for no licence to be given."""
    fit = [
        licence
        for _, licence, is_base in works
        if is_base or (licence.adapt and (licence.credit or licence in (OWN, MEASURE)))
    ]
    house = [TABLE["apache-2.0"], TABLE["cc-by-nc-4.0"]]
    return [licence for licence in dict.fromkeys((*fit, *house)) if not licence.results_free]


def _objections(choice: Licence, binding: Sequence[tuple[Work, Licence]]) -> list[str]:
    """Why a model made from these works may not be under `choice`."""
    if not choice.known:
        return [f"'{choice.id}' says nothing that can be checked; name a licence of the Hub's list."]
    found = []
    for work, licence in binding:
        if licence is OWN or choice is licence:
            continue
        if not licence.commercial and choice.commercial and choice is not OWN:
            found.append(f"{work.name} ({licence.id}) forbids commercial use, {choice.id} allows it.")
        if licence.flow != "free" and choice.id not in licence.also:
            found.append(f"{work.name} ({licence.id}) asks for {_same(licence)}, not {choice.id}.")
        if licence.id == "apache-2.0" and choice.id == "gpl-2.0":  # its patent clause is a further restriction
            found.append(f"{work.name} ({licence.id}) cannot become gpl-2.0.")
    return found


def _no_way_out(binding: Sequence[tuple[Work, Licence]]) -> str:
    asks = []
    for work, licence in binding:
        if licence.flow != "free":
            asks.append(f"{work.name} ({licence.id}) asks for {_same(licence)}")
        elif not licence.commercial:
            asks.append(f"{work.name} ({licence.id}) forbids commercial use")
    return f"The licences conflict: {', and '.join(asks)}. Use another base model or other data."


def _same(licence: Licence) -> str:
    return " or ".join((licence.id, *licence.also))


def _obligations(works: Sequence[tuple[Work, Licence, bool]], language: Language) -> Iterator[str]:
    say = SENTENCES[language]
    for work, licence, is_base in works:
        values = {"work": work.name, "licence": licence.name, "ids": _same(licence), "uses": licence.uses}
        if licence.credit:
            yield say["credit"].format(**values)
        if is_base or not licence.results_free:
            if not licence.commercial:
                yield say["commercial"].format(**values)
            if licence.flow != "free":
                yield say["alike"].format(**values)
            if licence.uses:
                yield say["uses"].format(**values)
        if is_base and licence.prefix:
            yield say["prefix"].format(prefix=licence.prefix)
        if not is_base and not licence.quote:
            yield say["quote"].format(**values)
