"""Whether inputs with different right answers are found, and how often what a policy lets stand is right.

    python -m benchmarks.consistency [--inputs 2000] [--data DIR]

Five reviewers label each of some made-up inputs, one of them wrong in three labels of ten and the others in one of
twenty, on days of their own; what differs has to be found, and nothing else. With BANKING77's files in `DIR/banking77`,
all their questions are taken as demonstrations, and what contradicts each other there is counted.
"""

import csv
import json
import random
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks._bars import Bar, close
from benchmarks._questions import parser
from tasks.collect import collect
from tasks.config import Config
from tasks.consistency import contradictions
from tasks.rounds import open_or_resume, read_evidence
from tasks.screen import screen

REVIEWERS = {"person:careful": 0.05, "person:second": 0.05, "person:third": 0.05, "rule:old": 0.05, "person:rush": 0.3}
POLICIES = ("hold", "newest", "majority", "trusted")
LABELS = tuple(f"label {number}" for number in range(8))


def demonstration(key: str, text: str, answer: str, producer: str, day: int) -> dict[str, Any]:
    """One record."""
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    moment = f"2026-03-{1 + day:02}T00:00:00+00:00"
    named = {"record": "demonstration", "demonstration_id": key, "messages": messages}
    return named | {"producer": producer, "created_at": moment}


def made_up(inputs: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The records, and the truth by input text."""
    rng = random.Random(0)
    truth = {
        f"{' '.join(rng.choices('abcdefghijklmnopqrstuvwxyz', k=14))} {n}": rng.choice(LABELS) for n in range(inputs)
    }
    records = []
    for text, label in truth.items():
        for producer, wrong in REVIEWERS.items():
            said = rng.choice([other for other in LABELS if other != label]) if rng.random() < wrong else label
            records.append(demonstration(f"{text}/{producer}", text, said, producer, rng.randrange(28)))
    return records, truth


def screened(folder: Path, records: list[dict[str, Any]], consistency: dict[str, Any], **changes: Any) -> Config:
    """The config of a workload that has collected and screened the records."""
    folder.mkdir()
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    values = {
        "name": "consistency",
        "home": folder / "home",
        "sources": [{"name": "made", "path": str(folder / "records.jsonl")}],
        "redaction": {"style": "off"},
        "scorer": {"type": "exact"},
        "model": {"base": "none"},
        "consistency": consistency,
    }
    config = Config.model_validate(values | changes)
    collect(config)
    screen(config, open_or_resume(config, "rule:benchmark"))
    return config


def measure_policies(folder: Path, inputs: int) -> tuple[list[Bar], dict[str, Any]]:
    """Bars on what is found, and for each policy how many disputed inputs it settles and how often rightly."""
    records, truth = made_up(inputs)
    said = defaultdict(set)
    for record in records:
        said[record["messages"][0]["content"]].add(record["messages"][1]["content"])
    disputed = {text for text, answers in said.items() if len(answers) > 1}
    outcomes, found = {}, []
    for policy in POLICIES:
        trusted = ["person:careful"] if policy == "trusted" else []
        rules = {"same_input": policy, "trusted": trusted}
        config = screened(folder / policy, records, rules, split={"near_duplicate": 1.0, "near_meaning": None})
        rows = contradictions(config)
        found.append({row["input"] for row in rows})
        standing = {row["input"]: row["answer"] for row in rows if row["stands"]}
        right = sum(truth[text] == answer for text, answer in standing.items())
        outcomes[policy] = {
            "settled": round(len(standing) / len(disputed), 3),
            "right_of_settled": round(right / len(standing), 3) if standing else None,
        }
    bars = [
        Bar(
            "planted contradictions found, share",
            min(len(each & disputed) for each in found) / len(disputed),
            ">=",
            1.0,
        ),
        Bar("inputs reported that agree", max(len(each - disputed) for each in found), "<=", 0),
    ]
    return bars, {"inputs": inputs, "disputed": len(disputed), "policies": outcomes}


def measure_banking77(folder: Path, data: Path) -> dict[str, Any]:
    """What contradicts each other among all questions of the data set."""
    records = []
    for name in ("train", "test"):
        with (data / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                records.append(demonstration(f"{name}-{number}", row["text"], row["category"], f"rule:{name}", 0))
    config = screened(folder / "banking77", records, {"same_input": "hold", "near_duplicates": "keep"})
    evidence = read_evidence(config)[0]
    return {"questions": len(records), "found": evidence["contradictions"]}


def main() -> None:
    """Measure, print the table and the JSON."""
    options = parser(__doc__ or "")
    options.add_argument("--inputs", type=int, default=2_000)
    chosen = options.parse_args()
    data = Path(chosen.data or "") / "banking77"
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        bars, context = measure_policies(Path(name), chosen.inputs)
        if (data / "test.csv").is_file():
            context["banking77"] = measure_banking77(Path(name), data)
    close("consistency", bars, context)


if __name__ == "__main__":
    main()
