"""personal data: found by form and checksum, false friends left alone, masked in place, quick on any text.

The numbers are made up or are the documented examples of their standards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.workbench.privacy.patterns import KINDS, find, mask, scan

FOUND = {
    "email": [
        "ada@example.com", "write to ada.b-c+x@mail.example.co.uk!", "(ada@example.com)", "邮箱：ada@example.cn。",
        "ａｄａ＠example.com",
    ],
    "phone": [
        "+44 20 7946 0018", "+1-202-555-0143", "0049 30 901820", "(202) 555-0143", "202-555-0143", "020 7946 0018",
        "phone: 5550143", "手机13912345678", "我的手机号是13912345678，谢谢", "电话：139 1234 5678",
        "call me on 07700 900123", "+8613912345678",
        "＋44 20 7946 0018", "202.555.0143x12",
    ],
    "payment_card": [
        "4012 8888 8888 1881", "5105-1051-0510-5100", "3782 822463 10005", "my card is 4012888888881881",
        "visa 4222222222222220", "卡号6222021234567890128", "debit 6011000990139424",
    ],
    "iban": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "pay to NL91ABNA0417164300."],
    "resident_id_cn": ["11010519491231002X", "身份证11010519491231002x。", "440308 19990101 0012"],
    "organisation_id_cn": ["91350100M000100Y43"],
    "us_ssn": ["SSN 123-45-6789", "his social security number: 987-65-4321", "123-45-6780"],
    "ip_address": [
        "192.168.0.1", "from 8.8.8.8, port 53", "地址是10.0.0.1。",
        "2001:db8:0:1:1:1:1:1", "fe80::1ff:fe23:4567:890a",
    ],
}  # fmt: skip

FALSE_FRIENDS = {
    "email": ["ada@example", "@ada", "a @ b", "user@", "3@2.5", "loss@0.5.1"],
    "phone": [
        "2024-01-01 12:00:00", "version 1.2.3", "3.14159265358979", "ISBN 978-3-16-148410-0", "1234567", "13912345678",
        "10 000 000", "1999-2003", "model 5550143-A", "1,234,567,890", "sha 0123456789", "2 3 4 5 6 7 8 9",
        "https://example.com/20240101123456",
    ],
    "payment_card": [
        "4012 8888 8888 1882", "card 4012888888881882", "4012888888881881", "0000 0000 0000 0000",
        "card 4111111111111111", "4.111111111111111", "order 79927398713000",
    ],
    "iban": ["GB82 WEST 1234 5698 7654 33", "DE00370400440532013000", "AB12CDEF34567890"],
    "resident_id_cn": [
        "110105194912310021", "11010519491331002X", "99010519491231002X", "110105194912310020", "1101051949123100",
    ],
    "organisation_id_cn": ["91350100M000100Y44", "A1350100M000100Y43"],
    "us_ssn": ["000-45-6789", "666-45-6789", "123-00-6789", "123-45-67890"],
    "ip_address": ["256.1.1.1", "1.2.3", "1.2.3.4.5", "v1.2.3.4a", "12:30:45", "a::b", "00:11"],
}  # fmt: skip


def kinds(text: str) -> list[str]:
    return [found.kind for found in find(text)]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_personal_data_is_found(kind: str, text: str) -> None:
    assert kinds(text) == [kind]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FALSE_FRIENDS.items() for text in texts])
def test_what_only_looks_like_it_is_not(kind: str, text: str) -> None:
    assert kind not in kinds(text)


def test_every_kind_is_tested() -> None:
    assert FOUND.keys() == FALSE_FRIENDS.keys() == KINDS.keys()


def luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) if at % 2 else int(digit) for at, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


def resident(digits: str) -> bool:
    """GB 11643: weights 2 ** (17 - i) mod 11, the check digit makes the sum 1."""
    total = sum(int(digit) * (2 ** (17 - at) % 11) for at, digit in enumerate(digits[:17]))
    return "10X98765432"[total % 11] == digits[17]


@given(st.integers(0, 10**11 - 1))
def test_a_card_is_what_passes_luhn(number: int) -> None:
    digits = f"40000{number:011}"
    assert (kinds(f"card {digits}") == ["payment_card"]) == luhn(digits)


@given(
    st.integers(1950, 2020), st.integers(1, 12), st.integers(1, 28), st.integers(0, 999), st.sampled_from("0123456789X")
)
def test_a_resident_id_is_what_passes_its_checksum(year: int, month: int, day: int, order: int, last: str) -> None:
    number = f"440308{year}{month:02}{day:02}{order:03}{last}"
    assert ("resident_id_cn" in kinds(number)) == resident(number)


def test_a_masked_text_keeps_all_else() -> None:
    text = (
        "Dear Ada, I wrote to ada@example.com and bob@example.org from 192.168.0.1 — card 4012 8888 8888 1881 expired."
    )
    masked = "Dear Ada, I wrote to [email] and [email] from [ip_address] — card [payment_card] expired."
    assert mask(text) == masked and mask(masked) == masked
    assert mask("邮箱：ａｄａ＠example.com，谢谢") == "邮箱：[email]，谢谢"
    assert mask("") == "" and mask("nothing here") == "nothing here"


@given(st.text("ab1234567890@.-+() 电话card，：", max_size=60))
def test_findings_are_in_order_apart_and_gone_once_masked(text: str) -> None:
    found = find(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert len(mask(text)) == len(text) + sum(len(one.kind) + 2 - (one.end - one.start) for one in found)


# --- a column as a whole --------------------------------------------------------------------------------------------


def numbers(check: Callable[[str], bool], form: str, count: int = 20) -> list[str]:
    chance = random.Random(0)
    found: list[str] = []
    while len(found) < count:
        digits = form.format(chance.randrange(10**9))
        found += [digits] if check(digits) else []
    return found


def test_bare_numbers_count_when_the_whole_column_passes() -> None:
    cards, phones = numbers(luhn, "4000000{:09}"), numbers(lambda _: True, "13{:09}")
    assert not any(map(find, cards)) and not any(map(find, phones))
    for column, kind in ((cards, "payment_card"), (phones, "phone")):
        report = scan(column)
        assert (dict(report.hits), report.rows, report.voted) == ({kind: 20}, 20, frozenset({kind}))
        assert mask(column[0], report.voted) == f"[{kind}]"
        assert scan(column[:7]).hits == {}  # too few to tell


def test_a_column_of_other_numbers_is_left_alone() -> None:
    orders = numbers(lambda _: True, "4000000{:09}", 200)  # one in ten passes by chance
    assert scan(orders).hits == {}
    # timestamps in milliseconds
    assert scan([str(1_700_000_000_000 + 37 * number) for number in range(500)]).hits == {}


def test_a_scan_counts_findings_and_rows() -> None:
    report = scan(["a@example.com b@example.com", "none", "c@example.com 192.168.0.1", ""])
    assert (dict(report.hits), report.rows) == ({"email": 3, "ip_address": 1}, 2)


# --- any text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece", ["1", "a", "1 ", "a@", "1.", "a.", "(1", "1-", "+1", "a:", "1:", "GB82", "0", "@a.", "１"]
)
def test_no_text_makes_the_patterns_slow(piece: str) -> None:
    long = piece * (200_000 // len(piece))  # a pattern that backtracks without bound would not end
    assert isinstance(mask(long), str) and isinstance(scan([long]).rows, int)


LABELS = {
    "CREDIT_CARD": "payment_card", "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip_address", "US_SSN": "us_ssn",
}  # fmt: skip


def test_sentences_that_others_made_up(real: Callable[[str], Path]) -> None:
    """Of the kinds that we look for, most marked spans of Presidio's test sentences are found, and nothing else."""
    num_marked = num_found = 0
    for row in pq.read_table(real("pii_synth") / "test.parquet").to_pylist():
        marked = {(LABELS.get(span["label"]), span["start"], span["end"]) for span in row["spans"]}
        found = {(one.kind, one.start, one.end) for one in find(row["text"])}
        assert found <= marked
        num_marked += sum(kind is not None for kind, _, _ in marked)
        num_found += len(found)
    assert num_marked == 63 and num_found >= 0.85 * num_marked
