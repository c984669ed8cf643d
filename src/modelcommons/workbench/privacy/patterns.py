"""personal data found by pattern and checksum: a table of rules, and what to do with what they find.

A rule is a pattern, often a checksum, and sometimes a word that must stand near (`card`, `电话`). Digits alone prove
little: one number in ten passes the Luhn check by chance. Such hits count only beside a fitting word, or when so
many of the same form in the data pass the check that chance is ruled out (a column of card numbers).

Patterns are written so that no text makes them slow: every repetition is bounded, and begins where no match can begin
in its middle.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Check = Callable[[str], bool]

NEAR_BEFORE, NEAR_AFTER = 48, 12  # characters in which a word counts as near
VOTERS, QUORUM = 8, 0.5  # so many candidates at least, this share of which must pass


@dataclass(frozen=True, slots=True)
class Kind:
    one: str  # as a person calls it
    many: str
    proof: str  # what tells it from other text


KINDS: dict[str, Kind] = {
    "email": Kind("e-mail address", "e-mail addresses", "form"),
    "phone": Kind(
        "phone number", "phone numbers", "international or national form, or digits beside a word like phone"
    ),
    "payment_card": Kind("payment card number", "payment card numbers", "Luhn check, and issuer or a word like card"),
    "iban": Kind("IBAN", "IBANs", "mod 97 check and length by country"),
    "resident_id_cn": Kind("Chinese resident id", "Chinese resident ids", "province, birth date, GB 11643 check digit"),
    "organisation_id_cn": Kind("Chinese organisation id", "Chinese organisation ids", "GB 32100 check character"),
    "us_ssn": Kind("US social security number", "US social security numbers", "form and ranges, or a word like SSN"),
    "ip_address": Kind("IP address", "IP addresses", "form"),
}


@dataclass(frozen=True, slots=True)
class Found:
    kind: str
    start: int  # in the text as given
    end: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in many texts."""

    hits: Mapping[str, int]  # kind -> how many
    rows: int  # texts with at least one
    voted: frozenset[str]  # kinds whose bare digits are taken to be what they look like, in this data


@dataclass(frozen=True, slots=True)
class Rule:
    kind: str
    sign: re.Pattern[str]  # cheap, and found in every text that the pattern matches in
    pattern: re.Pattern[str]
    check: Check = lambda text: True
    words: re.Pattern[str] | None = None  # one must stand near
    may_vote: bool = False  # where none does, the data as a whole decides


def find(text: str, voted: frozenset[str] = frozenset()) -> list[Found]:
    """Personal data in a text, in order, without overlaps.

    Args:
        voted: see `Report`; empty for a text on its own.
    """
    return [found for found, sure in _find(text) if sure or found.kind in voted]


def scan(texts: Iterable[str]) -> Report:
    """Counts personal data over texts that belong together, such as a column."""
    sure: Counter[str] = Counter()
    unsure: Counter[str] = Counter()
    candidates: Counter[str] = Counter()
    rows = 0
    rows_unsure: Counter[str] = Counter()
    for text in texts:
        found = _find(text)
        if not found and not DIGITS.search(text):
            continue
        sure.update(one.kind for one, is_sure in found if is_sure)
        doubtful = [one.kind for one, is_sure in found if not is_sure]
        unsure.update(doubtful)
        if any(is_sure for _, is_sure in found):
            rows += 1
        else:
            rows_unsure.update(set(doubtful))
        for kind, form in FORMS.items():
            candidates[kind] += sum(1 for _ in form.finditer(_plain(text)))
    voted = frozenset(
        kind for kind in FORMS if candidates[kind] >= VOTERS and unsure[kind] / candidates[kind] >= QUORUM
    )
    hits = {kind: sure[kind] + (unsure[kind] if kind in voted else 0) for kind in KINDS}
    return Report({k: n for k, n in hits.items() if n}, rows + sum(rows_unsure[kind] for kind in voted), voted)


def mask(text: str, voted: frozenset[str] = frozenset()) -> str:
    """The text with every finding replaced by its kind: `write to [email]`."""
    parts, position = [], 0
    for found in find(text, voted):
        parts += [text[position : found.start], f"[{found.kind}]"]
        position = found.end
    return "".join([*parts, text[position:]])


def _find(text: str) -> list[tuple[Found, bool]]:
    """Findings in order, and whether each is sure by itself. Rules come in the table's order: the first one wins."""
    plain = _plain(text)
    signs = {sign for sign in SIGNS if sign.search(plain)}
    taken = bytearray(len(plain))  # characters that an earlier rule claimed
    found: list[tuple[Found, bool]] = []
    for rule in RULES if signs else ():
        for match in rule.pattern.finditer(plain) if rule.sign in signs else ():
            start, end = match.span()
            if 1 in taken[start:end]:
                continue
            near = rule.words is None or _is_near(rule.words, plain, start, end)
            if (near or rule.may_vote) and rule.check(match[0]):
                taken[start:end] = b"\1" * (end - start)
                found.append((Found(rule.kind, start, end), near))
    return sorted(found, key=lambda pair: pair[0].start)


def _is_near(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    around = (text[max(0, start - NEAR_BEFORE) : start], text[end : end + NEAR_AFTER])
    return any(words.search(part) for part in around)


# --- text as patterns see it: the same length, so that positions stay what they are ----------------------------------

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width digits, letters, marks
_SPACES = dict.fromkeys((0xA0, 0x2002, 0x2003, 0x2009, 0x202F, 0x3000, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF), " ")
_DASHES = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212), "-")
_PLAIN: dict[int, int | str] = {**_WIDE, **_SPACES, **_DASHES}


def _plain(text: str) -> str:
    return text if text.isascii() else text.translate(_PLAIN)


# --- checks ---------------------------------------------------------------------------------------------------------


def _digits(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text)


def _is_card(text: str) -> bool:
    from stdnum import luhn

    digits = _digits(text)
    return len(set(digits)) > 2 and bool(luhn.is_valid(digits))


def _is_issued_card(text: str) -> bool:
    """A card by its checksum, its first digits and its length.

    Source: ISO/IEC 7812-1; ranges as published by the networks.
    """
    digits = _digits(text)
    return ISSUERS.match(digits) is not None and _is_card(text)


def _is_iban(text: str) -> bool:
    from stdnum import iban

    return bool(iban.is_valid(text.upper(), check_country=False))


def _is_resident_id(text: str) -> bool:
    """Province, birth date and check digit. (`stdnum.cn.ric.validate` also looks up the county, and fails with a
    KeyError where its table has none.)"""
    from stdnum.cn import ric
    from stdnum.exceptions import ValidationError

    number = _digits(text).upper()
    try:
        born = ric.get_birth_date(number)
    except ValidationError:
        return False
    return number[:2] in PROVINCES and 1900 <= born.year <= 2100 and ric.calc_check_digit(number) == number[-1]


def _is_organisation_id(text: str) -> bool:
    from stdnum.cn import uscc

    return text[2:4] in PROVINCES | {"10"} and bool(uscc.is_valid(text))


def _is_ssn(text: str) -> bool:
    from stdnum.us import ssn

    return bool(ssn.is_valid(text))


def _is_ipv6(text: str) -> bool:
    if text.count(":") < 3:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _has_digits(fewest: int, most: int) -> Check:
    return lambda text: fewest <= sum(map(str.isdigit, text)) <= most


# --- the table ------------------------------------------------------------------------------------------------------

ISSUERS = re.compile(
    r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-59]|[689]\d)\d{11}|35\d{14}|62\d{14,17}|6(?:011|4[4-9]\d|5\d\d)\d{12})$"
)  # Visa; Mastercard, old and new range; American Express; Diners; JCB; UnionPay; Discover

PROVINCES = frozenset(  # the first two digits of GB/T 2260
    f"{code}"
    for codes in (
        range(11, 16),
        range(21, 24),
        range(31, 38),
        range(41, 47),
        range(50, 55),
        range(61, 66),
        (71, 81, 82, 83),
    )
    for code in codes
)

CARD_WORDS = re.compile(
    r"\b(?:card|visa|master ?card|amex|credit|debit|unionpay)|银行卡|卡号|信用卡|储蓄卡|账号|卡", re.I | re.ASCII
)
PHONE_WORDS = re.compile(
    r"\b(?:phones?|telephones?|tel|mobile|cell|fax|call(?:ed|ing)?|dial|desk|office|sms|whatsapp|answering"
    r"|messages?|contact|hotline)\b|电话|手机|联系|拨打|致电|热线|传真|微信|号码",
    re.I | re.ASCII,
)
SSN_WORDS = re.compile(r"\b(?:ssn|social security)\b", re.I | re.ASCII)

AT = re.compile("@")
DOTTED = re.compile(r"\d\.\d{1,3}\.")
COLONS = re.compile(r"[0-9A-Fa-f]:{1,2}[0-9A-Fa-f]{1,4}:")
DIGITS = re.compile(r"\d(?:[^\d]{0,5}\d){6}")
SIGNS = (AT, DOTTED, COLONS, DIGITS)

# what may stand around: nothing that would make the match part of a longer word or number. Patterns are ASCII, so that
# \w is no Chinese character: Chinese puts no space before a number
ALONE, THEN = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
UNTIED = r"(?<![\w.+-])(?<!\d,)"
PHONE_END = r"(?![\w@])(?![.,-]\d)"
PHONE_GROUPS = r"(?:[ .-]?\(?\d{1,5}\)?){1,6}(?:x\d{1,5})?"
LOCAL, DOMAIN = r"[A-Za-z0-9._%+-]", r"(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}"
BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
GROUPED_CARD = r"(?<![\w.-])\d{4}([ -])(?:\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{6}\1\d{4,5})(?![\w-])"
ORGANISATION = rf"{ALONE}[159Y][1239]\d{{6}}[0-9A-HJ-NPQRTUWXY]{{10}}{THEN}"
IBAN = rf"{ALONE}[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{THEN}"
AMERICAN = rf"{UNTIED}(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])[2-9]\d\d[-.]\d{{4}}(?:x\d{{1,5}})?{PHONE_END}"
ABROAD = rf"(?<![\w+])(?:\+|00(?=[1-9]\d{{0,2}}[ .-]))[1-9]\d{{0,2}}{PHONE_GROUPS}{PHONE_END}"
INLAND = rf"{UNTIED}(?:\(0\d{{1,4}}\)|0\d{{1,4}})(?:[ .-]\d{{2,8}}){{1,4}}{PHONE_END}"
MOBILE_CN = r"(?<![\w.+-])1[3-9]\d([ -]?)\d{4}\1\d{4}(?![\w-])"
ANY_PHONE = rf"{UNTIED}(?:\(\d{{1,5}}\)|\d{{1,5}}){PHONE_GROUPS}{PHONE_END}"
BARE_CARD = r"(?<![\w.-])\d{13,19}(?![\w-])"
SSN = r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"


def _rule(
    kind: str,
    sign: re.Pattern[str],
    pattern: str,
    check: Check = lambda text: True,
    words: re.Pattern[str] | None = None,
    may_vote: bool = False,
) -> Rule:
    return Rule(kind, sign, re.compile(pattern, re.ASCII), check, words, may_vote)


RULES: tuple[Rule, ...] = (
    _rule("email", AT, rf"(?<!{LOCAL}){LOCAL}{{1,64}}@{DOMAIN}{THEN}"),
    _rule("ip_address", DOTTED, rf"(?<![\w.])(?:{BYTE}\.){{3}}{BYTE}(?![\w]|\.\d)"),
    _rule("ip_address", COLONS, r"(?<![\w:])[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}(?![\w:])", _is_ipv6),
    _rule("iban", DIGITS, IBAN, _is_iban),
    _rule("resident_id_cn", DIGITS, rf"{ALONE}\d{{6}}[ -]?\d{{8}}[ -]?\d{{3}}[\dXx]{THEN}", _is_resident_id),
    _rule("organisation_id_cn", DIGITS, ORGANISATION, _is_organisation_id),
    _rule("us_ssn", DIGITS, SSN, words=SSN_WORDS),
    _rule("us_ssn", DIGITS, SSN, _is_ssn),
    _rule("payment_card", DIGITS, GROUPED_CARD, _is_issued_card),
    _rule("payment_card", DIGITS, r"(?<![\w.-])\d{12,19}(?![\w-])", _is_card, CARD_WORDS),
    _rule("payment_card", DIGITS, BARE_CARD, _is_issued_card, CARD_WORDS, may_vote=True),
    _rule("phone", DIGITS, ABROAD, _has_digits(8, 15)),
    _rule("phone", DIGITS, AMERICAN),
    _rule("phone", DIGITS, INLAND, _has_digits(9, 12)),
    _rule("phone", DIGITS, MOBILE_CN, words=PHONE_WORDS, may_vote=True),
    _rule("phone", DIGITS, ANY_PHONE, _has_digits(7, 15), PHONE_WORDS),
)

# kinds that may vote -> what has their form, whether it passes the check or not
FORMS = {
    "payment_card": re.compile(BARE_CARD, re.ASCII),
    "phone": re.compile(r"(?<![\w.+-])\d{11}(?![\w-])", re.ASCII),
}
