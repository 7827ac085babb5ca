"""How much personal data redaction finds, how much else it touches, and how long it takes.

    python -m benchmarks.redaction [--data DIR] [--development] [--show N]

Thousands of items of every kind are planted in texts, by a generator that shares nothing with the patterns that look
for them; an item counts as found only if nothing of what identifies somebody is left. Patterns were tuned on the texts
of `--development`, the figures are of others. With --data (or $FLYWHEEL_DATA), texts that people wrote are read too
(banking77/*.csv): they hold no personal data. --show prints what was missed and what was touched. About a minute.
"""

import argparse
import csv
import itertools
import json
import os
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks._bars import Bar, close
from benchmarks._clean import PLAIN, clean_texts
from benchmarks._planted import KINDS, Planted, planted
from tasks.redact import PREFILTER, Redactor

ITEMS, CLEAN = 2_500, 24_000
DEVELOPMENT, FINAL = 1, 77_001
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9A-Za-z])[ .()/\u00a0\u2009\u202f\u2011\u2013-]+(?=[0-9A-Za-z])")


@dataclass(frozen=True)
class Speed:
    """Microseconds a text, and how many characters it has."""

    microseconds: float
    characters: float


def is_left(item: Planted, texts: Sequence[str]) -> bool:
    """Whether a part of what identifies somebody is in every one of the texts; in some it may be by chance."""
    return any(all(part in text for text in texts) for part in item.identifying)


def readable(kind: str, text: str) -> str:
    """The text as one who searches it would read it: in small letters, digits without what separates them."""
    text = text.lower().replace("\\\\n", "").replace("\\n", "")
    return _BETWEEN_DIGITS.sub("", text) if kind in ("phone", "card", "iban") else text


def missed(items: Sequence[Planted], redactors: Sequence[Redactor]) -> list[tuple[Planted, str]]:
    """The items that are still to be read after redaction, with the text that was left."""
    found = []
    for item in items:
        redacted = [redactor.redact(item.text) for redactor in redactors]
        if is_left(item, [readable(item.kind, text) for text in redacted]):
            found.append((item, redacted[0]))
    return found


def touched(texts: Sequence[tuple[str, str]], redactor: Redactor) -> list[tuple[str, str, str]]:
    """The clean texts that redaction changes: sort, before, after."""
    pairs = ((sort, text, redactor.redact(text)) for sort, text in texts)
    return [(sort, text, redacted) for sort, text, redacted in pairs if redacted != text]


def written_by_people(data: Path | None) -> list[tuple[str, str]]:
    """Questions of bank customers, where the data are."""
    rows: list[tuple[str, str]] = []
    for file in sorted((data / "banking77").glob("*.csv")) if data else []:
        with file.open(encoding="utf-8", newline="") as opened:
            rows += [("banking77", row["text"]) for row in csv.DictReader(opened)]
    return rows


def speed(texts: Sequence[str], redactor: Redactor, repeats: int = 3) -> Speed:
    """The best of some passes over the texts, in processor time, so that other work on the machine counts little."""
    best = min(_seconds(texts, redactor) for _ in range(repeats))
    return Speed(1e6 * best / len(texts), sum(map(len, texts)) / len(texts))


def round_trip(texts: list[str]) -> float:
    """Microseconds that writing a text as JSON and reading it again takes: a yardstick for the machine as it is now."""
    begun = time.process_time()
    for text in texts * 20:
        json.loads(json.dumps(text))
    return 1e6 * (time.process_time() - begun) / len(texts) / 20


def _seconds(texts: Sequence[str], redactor: Redactor) -> float:
    begun = time.process_time()
    for text in texts:
        redactor.redact(text)
    return time.process_time() - begun


def prefilter(texts: list[str]) -> tuple[float, dict[str, float]]:
    """The share of the texts that may hold personal data, and the nanoseconds a byte of finding out, by engine."""
    import duckdb
    import polars as pl

    frame = pl.DataFrame({"text": texts * 5})
    size = sum(len(text.encode()) for text in texts) * 5
    begun = time.process_time()
    share = frame.select(pl.col("text").str.contains(PREFILTER).mean())["text"][0]
    seconds = {"polars": time.process_time() - begun}
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("frame", frame)
        connection.execute("create table texts as select text from frame")
        begun = time.process_time()
        connection.execute("select count(*) from texts where regexp_matches(text, $1)", [PREFILTER]).fetchall()
        seconds["duckdb"] = time.process_time() - begun
    return float(share), {engine: round(1e9 * each / size, 1) for engine, each in seconds.items()}


def in_tickets(items: Sequence[Planted], sentences: Sequence[str], length: int = 300) -> list[str]:
    """Texts of `length` characters, or a little more, that hold one item each among other sentences."""
    texts, others = [], itertools.cycle(sentences)
    for item in items:
        text = item.text
        while len(text) < length:
            text += f" {next(others)}"
        texts.append(text)
    return texts


def show(count: int, misses: dict[str, list[tuple[Planted, str]]], changed: Sequence[tuple[str, str, str]]) -> None:
    """What was missed by form, and examples of it and of what was touched."""
    for kind, pairs in misses.items():
        for item, redacted in pairs[:count]:
            print(f"MISSED {kind} [{item.form}]\n   {item.text!r}\n   {redacted!r}")
    for sort, text, redacted in changed[:count]:
        print(f"TOUCHED {sort}\n   {text!r}\n   {redacted!r}")
    print("touched by sort:", dict(Counter(sort for sort, _, _ in changed)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("FLYWHEEL_DATA"), help="folder with banking77/*.csv"
    )
    parser.add_argument("--development", action="store_true", help="the texts that patterns are tuned on")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N of each kind that went wrong")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table and the JSON."""
    options = arguments()
    if find_spec("phonenumbers") is None:
        print("phonenumbers is not installed; it has the telephone numbers of this benchmark", file=sys.stderr)
        return close("redaction", [], {"skipped": "phonenumbers is not installed"})
    seed = DEVELOPMENT if options.development else FINAL
    redactors = [Redactor("surrogate", key * 32) for key in (b"a", b"b")]
    items = {kind: list(planted(kind, ITEMS, seed)) for kind in KINDS}
    clean = list(clean_texts(CLEAN, seed))
    people = written_by_people(Path(options.data) if options.data else None)
    misses = {kind: missed(each, redactors) for kind, each in items.items()}
    changed = touched(clean, redactors[0])
    show(options.show, misses, changed)
    bars = [Bar(f"recall, {kind}", 1 - len(misses[kind]) / ITEMS, ">=", 0.99) for kind in KINDS]
    bars.append(Bar("share of clean texts touched", len(changed) / CLEAN, "<=", 0.005))
    close("redaction", bars, _context(seed, items, clean, people, redactors[0]))


def _context(
    seed: int,
    items: dict[str, list[Planted]],
    clean: list[tuple[str, str]],
    people: list[tuple[str, str]],
    redactor: Redactor,
) -> dict[str, Any]:
    texts = [text for _, text in clean]
    share, nanoseconds = prefilter(texts)
    suspicious = [text for text in texts if re.search(PREFILTER, text)]
    plain = {kind: speed(in_tickets(each[:1000], PLAIN), redactor) for kind, each in items.items()}
    dense = [speed(in_tickets(each[:300], texts), redactor).microseconds for each in items.values()]
    return {
        "seed": seed,
        "items_of_each_kind": ITEMS,
        "clean_texts": CLEAN,
        "texts_by_people": len(people),
        "texts_by_people_touched": len(touched(people, redactor)),
        "clean_texts_the_prefilter_matches": round(share, 4),
        "texts_by_people_the_prefilter_matches": round(
            sum(bool(re.search(PREFILTER, t)) for _, t in people) / len(people), 4
        )
        if people
        else None,
        "prefilter_ns_per_byte": nanoseconds,
        "us_per_ticket_with_one_hit": {kind: round(each.microseconds, 1) for kind, each in plain.items()},
        "us_per_ticket_as_json_and_back": round(round_trip(in_tickets(items["email"][:1000], PLAIN)), 1),
        "characters_per_ticket": round(statistics.mean(each.characters for each in plain.values())),
        "us_per_ticket_full_of_numbers_with_one_hit": round(statistics.mean(dense), 1),
        "us_per_clean_text_that_the_prefilter_matches": round(speed(suspicious, redactor).microseconds, 1),
    }


if __name__ == "__main__":
    main()
