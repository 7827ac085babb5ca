"""Personal data is found in the forms that people write it in, replaced by look-alikes, and nothing else is touched."""

from __future__ import annotations

import ipaddress
import json
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigError
from tasks.redact import PREFILTER, Redactor

KEY = b"0" * 32
PERSONAL = {
    "email": ["maria.keller@firma.de", "J.Doe+news@mail.example.co.uk"],
    "phone": ["+49 30 901820", "call me on (212) 555-0187", "Tel. 030 9018 2034", "+33 6 12 34 56 78"],
    "card": ["4539 1488 0343 6467", "4539148803436467", "3714 496353 98431"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "ipv4": ["it came from 84.17.46.22"],
    "ipv6": ["2001:db8:85a3::8a2e:370:7334"],
    "secret": ["password: hunter2-Xk29", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "sk-proj-ab3DEF6789abcDEF6789"],
}
CLEAN = [
    "My order 48213 (PB-20931) of 12.03.2026 cost 1.299,00 EUR, that is 20 % too much.",
    "The app in version 4.12.0.3 crashes since 2026-03-01T12:00:00Z at 99 %.",
    "commit 9fceb02 broke id 123e4567-e89b-12d3-a456-426614174000",
    "select count(*) from orders where id = 4539148803436468",
    "We shipped 1 800 000 units to 52.5200, 13.4050 in 2025.",
]


def redactor(style: str = "surrogate", key: bytes = KEY) -> Redactor:
    return Redactor(style, key)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts])
def test_personal_data_is_replaced_by_its_like(kind: str, text: str) -> None:
    found, counts = redactor().redact_with_counts(f"Hello, {text} thanks")
    assert counts == {kind: 1}
    assert text not in found
    assert found.startswith("Hello, ") and found.endswith(" thanks")
    assert f"[{'IP' if kind.startswith('ip') else kind.upper()}]" in redactor("placeholder").redact(text)


@pytest.mark.parametrize("text", CLEAN)
def test_clean_texts_are_left_alone(text: str) -> None:
    assert redactor().redact(text) == text


def test_look_alikes_are_well_formed() -> None:
    card = re.sub(r"\D", "", redactor().redact("4539 1488 0343 6467"))
    digits = [int(digit) for digit in reversed(card)]
    assert (sum(digits[::2]) + sum(sum(divmod(2 * d, 10)) for d in digits[1::2])) % 10 == 0
    assert card.startswith("4") and len(card) == 16
    iban = redactor().redact("DE89370400440532013000")
    assert iban.startswith("DE") and len(iban) == 22
    assert int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1
    assert ipaddress.ip_address(redactor().redact("84.17.46.22"))
    assert redactor().redact("maria@firma.de").partition("@")[2].startswith("example.")


def test_the_same_value_has_one_look_alike_under_one_key() -> None:
    once = redactor().redact("4539 1488 0343 6467")
    assert redactor().redact("4539-1488-0343-6467").replace("-", " ") == once
    assert redactor(key=b"1" * 32).redact("4539 1488 0343 6467") != once


def test_json_stays_json() -> None:
    text = json.dumps({"to": "maria@firma.de", "card": 4539148803436467, "note": 'say "hi"\n+49 30 901820'})
    for style in ("surrogate", "placeholder"):
        assert set(json.loads(redactor(style).redact(text))) == {"to", "card", "note"}


def test_names_are_found_by_a_recogniser_of_ones_own() -> None:
    def names(text: str) -> list[tuple[int, int]]:
        return [found.span() for found in re.finditer("Maria Keller", text)]

    own = Redactor("surrogate", KEY, names)
    assert own.finds_names
    assert "Maria Keller" not in own.redact("Maria Keller wrote to a@b-mail.de")
    assert Redactor("placeholder", KEY, names).redact("by Maria Keller") == "by [NAME]"


def test_off_is_off_and_an_unknown_style_is_refused() -> None:
    assert redactor("off").redact("a@b-mail.de") == "a@b-mail.de"
    with pytest.raises(ConfigError, match="must be surrogate, placeholder or off"):
        redactor("blur")


ITEMS = st.sampled_from([text for texts in PERSONAL.values() for text in texts])


@settings(max_examples=300, deadline=None)
@given(st.lists(ITEMS | st.text(max_size=30) | st.sampled_from(CLEAN), max_size=4).map(" ".join))
def test_what_the_prefilter_passes_over_has_nothing_to_find(text: str) -> None:
    """The database asks the prefilter alone, on the text as it stands and on its JSON."""
    if redactor().redact(text) != text:
        for seen in (text, json.dumps(text, ensure_ascii=False)):
            assert re.search(PREFILTER, seen)
            assert pl.Series([seen]).str.contains(PREFILTER).item()
