"""licences: sixty lineages whose verdict is known, and what people write for a licence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.errors import LicenceError
from modelcommons.formats.licence import TABLE, Work, derive, find

REFUSED = ""

# base models, data, wish -> licence on the card; refused where empty
LINEAGES = [
    # new models: the data's licence, else apache-2.0
    ([], ["mit"], "auto", "mit"),
    ([], ["cc-by-4.0"], "auto", "cc-by-4.0"),
    ([], ["cc0-1.0"], "auto", "apache-2.0"),
    ([], ["public-domain"], "auto", "apache-2.0"),
    ([], ["pddl"], "auto", "apache-2.0"),
    ([], ["bsd-3-clause"], "auto", "bsd-3-clause"),
    ([], ["cc-by-sa-4.0"], "auto", "cc-by-sa-4.0"),
    ([], ["cc-by-nc-4.0"], "auto", "cc-by-nc-4.0"),
    ([], ["cc-by-nc-sa-4.0"], "auto", "cc-by-nc-sa-4.0"),
    ([], ["cc-by-nd-4.0"], "auto", "apache-2.0"),
    ([], ["cc-by-nc-nd-4.0"], "auto", "cc-by-nc-4.0"),
    ([], ["odbl"], "auto", "odbl"),
    ([], ["cdla-sharing-1.0"], "auto", "apache-2.0"),
    ([], ["cdla-permissive-2.0"], "auto", "apache-2.0"),
    ([], ["c-uda"], "auto", "apache-2.0"),
    ([], ["psf-2.0"], "auto", "other"),
    ([], ["own"], "auto", "other"),
    ([], ["own"], "mit", "mit"),
    ([], ["cc-by-4.0", "cc-by-sa-4.0"], "auto", "cc-by-sa-4.0"),
    ([], ["cc-by-sa-3.0", "cc-by-sa-4.0"], "auto", "cc-by-sa-4.0"),
    ([], ["cc-by-sa-4.0", "cc-by-nc-4.0"], "auto", REFUSED),
    ([], [], "auto", "apache-2.0"),
    # unknown stays unknown, whatever is wished
    ([], [None], "auto", REFUSED),
    ([], ["unknown"], "mit", REFUSED),
    ([], ["NOASSERTION"], "apache-2.0", REFUSED),
    ([], ["other"], "auto", REFUSED),
    ([], ["cc"], "auto", REFUSED),
    ([None], ["cc0-1.0"], "auto", REFUSED),
    (["other"], ["cc0-1.0"], "mit", REFUSED),
    (["busl-1.1"], ["cc0-1.0"], "auto", REFUSED),
    ([], ["mit"], "other", REFUSED),
    ([], ["mit"], "my-licence", REFUSED),
    # permissive base models
    (["apache-2.0"], ["cc-by-4.0"], "auto", "apache-2.0"),
    (["mit"], ["mit"], "auto", "mit"),
    (["apache-2.0"], ["cc-by-sa-4.0"], "auto", "cc-by-sa-4.0"),
    (["apache-2.0"], ["cc-by-nc-4.0"], "auto", "cc-by-nc-4.0"),
    (["apache-2.0"], ["cc-by-nc-4.0"], "apache-2.0", REFUSED),
    (["apache-2.0"], ["cc-by-sa-4.0"], "mit", REFUSED),
    (["apache-2.0"], ["own"], "auto", "apache-2.0"),
    (["apache-2.0"], ["cc-by-nd-4.0"], "auto", "apache-2.0"),
    (["apache-2.0"], ["gpl-2.0"], "auto", REFUSED),
    (["apache-2.0"], ["gpl-3.0"], "auto", "gpl-3.0"),
    (["apache-2.0"], ["mit"], "gpl-3.0", "gpl-3.0"),
    (["cc-by-4.0"], ["mit"], "mit", "mit"),
    (["openmdw-1.1"], ["cc-by-4.0"], "auto", "openmdw-1.1"),
    # base models that ask for their own licence
    (["cc-by-nd-4.0"], ["mit"], "auto", REFUSED),
    (["cc-by-nc-nd-4.0"], ["cc0-1.0"], "cc-by-nc-nd-4.0", REFUSED),
    (["cc-by-sa-4.0"], ["mit"], "auto", "cc-by-sa-4.0"),
    (["cc-by-sa-4.0"], ["mit"], "gpl-3.0", "gpl-3.0"),
    (["cc-by-nc-4.0"], ["mit"], "auto", "cc-by-nc-4.0"),
    (["cc-by-nc-4.0"], ["mit"], "cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0"),
    (["cc-by-nc-4.0"], ["mit"], "mit", REFUSED),
    (["gpl-3.0"], ["cc-by-sa-4.0"], "auto", "gpl-3.0"),
    (["gpl-3.0"], ["cc-by-nc-4.0"], "auto", REFUSED),
    (["agpl-3.0"], ["mit"], "mit", REFUSED),
    (["gemma"], ["cc-by-4.0"], "auto", "gemma"),
    (["gemma"], ["cc-by-4.0"], "apache-2.0", REFUSED),
    (["gemma"], ["cc-by-sa-4.0"], "auto", REFUSED),
    (["llama3.1"], ["mit"], "auto", "llama3.1"),
    (["llama3.1"], ["cc-by-nc-4.0"], "auto", REFUSED),
    (["llama2", "gemma"], ["mit"], "auto", REFUSED),
    (["creativeml-openrail-m"], ["cc0-1.0"], "auto", "creativeml-openrail-m"),
    (["bigscience-bloom-rail-1.0"], ["cc0-1.0"], "mit", REFUSED),
    (["bigcode-openrail-m"], ["cdla-sharing-1.0"], "auto", "bigcode-openrail-m"),
    (["apple-amlr"], ["mit"], "auto", "apple-amlr"),
    (["fair-noncommercial-research-license"], ["mit"], "cc-by-nc-4.0", REFUSED),
]


def works(ids: list[str | None], word: str) -> list[Work]:
    return [Work(f"{word} {number}", id) for number, id in enumerate(ids)]


@pytest.mark.parametrize(("base", "data", "wish", "expected"), LINEAGES)
def test_a_lineage_gets_its_verdict(base: list[str | None], data: list[str | None], wish: str, expected: str) -> None:
    decision = derive(works(base, "base model"), works(data, "data"), wish)
    assert decision.license == expected
    if expected == REFUSED:
        with pytest.raises(LicenceError, match=r"\.$"):
            decision.agreed()
    else:
        assert decision.agreed().conflicts == () and decision.name


def test_there_are_sixty_of_them() -> None:
    assert len(LINEAGES) >= 60


KNOWN = [licence.id for licence in TABLE.values() if licence.known]
UNCERTAIN = st.sampled_from(
    ["unknown", "other", "cc", None, "", "NOASSERTION", "see LICENSE", "(MIT OR GPL-2.0) AND x"]
)
ids = st.lists(st.sampled_from(KNOWN), max_size=2)


@given(base=ids, data=ids, lost=UNCERTAIN, wish=st.sampled_from(["auto", *TABLE]), in_base=st.booleans())
def test_unknown_never_becomes_ok(base: list[str], data: list[str], lost: str | None, wish: str, in_base: bool) -> None:
    (base if in_base else data).append(lost)  # type: ignore[arg-type]
    decision = derive(works(base, "base model"), works(data, "data"), wish)
    assert decision.license == "" and decision.conflicts


@given(base=ids, data=ids, wish=st.sampled_from(KNOWN))
def test_what_auto_chooses_may_also_be_said(base: list[str], data: list[str], wish: str) -> None:
    """An explicit licence is held to the same rules as `auto`, and refused with the one that would do."""
    auto = derive(works(base, "base model"), works(data, "data"))
    said = derive(works(base, "base model"), works(data, "data"), wish)
    if auto.license and auto.license != "other":
        assert derive(works(base, "base model"), works(data, "data"), auto.license).license == auto.license
    if said.license:
        chosen = find(wish)
        sources = [find(id) for id in base] + [find(id) for id in data if not find(id).results_free]
        assert chosen.id == "own" or not chosen.commercial or all(source.commercial for source in sources)
        assert all(find(id).adapt for id in base)


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("Apache-2.0", "apache-2.0"), ("Apache License 2.0", "apache-2.0"),
        ("apache license, version 2.0", "apache-2.0"), ("CC-BY-2.0", "cc-by-2.0"),
        ("MIT License", "mit"), ("The MIT License", "mit"), ("BSD 3-Clause License", "bsd-3-clause"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"), ("CC-BY-ND-4.0", "cc-by-nd-4.0"), ("PDDL-1.0", "pddl"),
        ("Creative Commons Attribution 4.0 International", "cc-by-4.0"), ("GPL-3.0-or-later", "gpl-3.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 3.0 Unported", "cc-by-nc-sa-3.0"),
        ("Creative Commons Attribution Share Alike 4.0", "cc-by-sa-4.0"), ("CC0 1.0 Universal", "cc0-1.0"),
        ("LicenseRef-public-domain", "public-domain"), ("Public Domain", "public-domain"), ("GPL-2.0-only", "gpl-2.0"),
        ("GNU General Public License v3.0", "gpl-3.0"), ("ODbL-1.0", "odbl"), ("ODC-By-1.0", "odc-by"),
        ("Python-2.0", "psf-2.0"), ("PSF-2.0", "psf-2.0"), ("OpenMDW-1.0", "openmdw-1.0"), ("openrail++", "openrail++"),
        ("Llama 3.1 Community License", "llama3.1"), ("llama-3.3", "llama3.3"), ("LGPL-2.1+", "lgpl-2.1"),
        ("CDLA-Permissive-2.0", "cdla-permissive-2.0"), ("Zlib", "zlib"), ("BSL-1.0", "bsl-1.0"),
        ("MIT OR GPL-3.0-only", "mit"), ("MIT AND MIT", "mit"), ("MIT AND GPL-3.0", "unknown"), ("BUSL-1.1", "unknown"),
        ("Apache-2.0 WITH LLVM-exception", "unknown"), ("", "unknown"), (None, "unknown"), ("NOASSERTION", "unknown"),
    ],
)  # fmt: skip
def test_people_write_it_in_many_ways(text: str | None, id: str) -> None:
    assert find(text).id == id


def test_every_identifier_finds_itself() -> None:
    assert {id: find(id).id for id in TABLE} == {id: id for id in TABLE}
    assert all(also in TABLE for licence in TABLE.values() for also in licence.also)


def test_a_refusal_says_which_and_what_to_do() -> None:
    unknown = derive([], [Work("pets.csv", None)])
    assert unknown.conflicts[0].startswith(
        "The licence of the data pets.csv is unknown. Say it in the recipe: `data.license:"
    )
    conflict = derive([Work("ada/base", "llama3.1")], [Work("data pets", "cc-by-sa-4.0")])
    assert "ada/base (llama3.1) asks for llama3.1" in conflict.conflicts[0]
    assert "data pets (cc-by-sa-4.0) asks for cc-by-sa-4.0 or gpl-3.0" in conflict.conflicts[0]
    violated = derive([], [Work("data pets", "cc-by-nc-4.0")], "mit")
    assert violated.conflicts == (
        "publish.license: data pets (cc-by-nc-4.0) forbids commercial use, mit allows it. `cc-by-nc-4.0` would do.",
    )


def test_a_llama_keeps_its_name() -> None:
    lineage = [Work("meta/llama", "llama3.1")], [Work("data", "mit")]
    assert "begin with 'Llama'" in derive(*lineage, title="ada/news").conflicts[0]
    decision = derive(*lineage, title="ada/Llama-news").agreed()
    assert decision.notices[0].startswith("Llama 3.1 is licensed under") and any(
        "'Llama'" in o for o in decision.obligations
    )


def test_what_quotes_the_data_stays_at_home() -> None:
    """Data that may not be passed on in another form, and the person's own, do not leave with the predictions."""
    for licence, quotes in {"cc-by-nd-4.0": False, "own": False, "cc-by-4.0": True, "cc-by-nc-4.0": True}.items():
        assert derive([], [Work("data", licence)]).quotes is quotes, licence
    assert not derive([Work("base", "mit")], [Work("data", "measurement-only")]).uploads
    assert derive([], [Work("data", "own")]).uploads
    assert any("不上传" in sentence for sentence in derive([], [Work("d", "cc-by-nd-4.0")], language="zh").obligations)
