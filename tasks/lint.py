"""Answers held against inference: what is trained on has to look like what production asks for and may say.

The same format (the config's `checks`), the same discipline of length, no current facts that the input does not hold
(an amount that was right when somebody wrote it down is made up tomorrow), and inputs like production's.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.base_models import load_tokenizer
from tasks.chat import Conversation, token_ids
from tasks.checks import Check
from tasks.data_options import Rule
from tasks.errors import ConfigError
from tasks.records import sha256

# Half of the shortest that production says, or twice the longest, is another discipline of length.
STRETCH = 2.0
LEAST_OUTPUTS = 50  # of production, to know its range
SAMPLE = 500  # inputs of either kind that are told apart
FOLDS = 5

# Of bounded length, so that no text, however it is made, takes more than linear time.
_NUMBER = r"(?<!\d)\d{1,15}(?:[.,' \u00a0\u202f]\d{1,6}){0,6}"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|märz|mai|okt|dez)[a-zä]*\.?"
_UNIT = (
    r"(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|minuten?|stunden?|tagen?|tage?|wochen?|monaten?|monate?"
    r"|jahren?|jahre?|business days?|working days?)"
)
_CURRENCY = r"(?:[$€£¥₹]|\b(?:usd|eur|gbp|chf|jpy|inr|dollars?|euros?|pounds?|cents?)\b)"
# What each kind of fact looks like; a number that is part of none of them (a count, an index) is no fact.
FACTS: Mapping[str, re.Pattern[str]] = {
    "amount": re.compile(rf"{_CURRENCY}\s?{_NUMBER}|{_NUMBER}\s?{_CURRENCY}", re.IGNORECASE),
    "percentage": re.compile(rf"{_NUMBER}\s?(?:%|percent\b|per cent\b|prozent\b)", re.IGNORECASE),
    "date": re.compile(
        rf"\b\d{{4}}-\d{{1,2}}-\d{{1,2}}\b|\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}\b"
        rf"|\b{_MONTH}\s\d{{1,2}}\b|\b\d{{1,2}}(?:st|nd|rd|th|\.)?\s{_MONTH}(?:\s\d{{4}})?\b|\b(?:19|20)\d\d\b",
        re.IGNORECASE,
    ),
    "period": re.compile(rf"\b{_NUMBER}[ -]{_UNIT}\b", re.IGNORECASE),
    "reference": re.compile(
        r"§\s?\d[\d.]*|\b[A-Z]{2,10}[-/ ]?\d{2,15}(?:-\d{1,15}){0,3}\b|(?<![\d.,])\d{5,}(?!\d|[.,]\d)"
    ),
}
_DIGITS = re.compile(_NUMBER)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a row, in a sentence that ends with what to do."""

    signal_id: str
    rule: Rule
    reason: str


def check_format(signal_id: str, answer: str, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """The rules that production's outputs have to pass, on an answer."""
    for name, check in checks.items():
        if problem := check(answer):
            reason = f"the answer breaks the rule {name}, which outputs have to pass: {problem}; correct the answer"
            yield Finding(signal_id, "format", reason)
            return


def check_length(signal_id: str, answer: str, shortest: float, longest: float) -> Iterator[Finding]:
    """An answer (in characters) far outside the range of production's outputs."""
    size = len(answer)
    if size > STRETCH * longest or size < shortest / STRETCH:
        most = "long" if size > longest else "short"
        reason = (
            f"the answer is {most}: {size} characters, production's outputs have {shortest:.0f} to {longest:.0f}; "
            f"a model trained on it answers so: rewrite it or leave it out"
        )
        yield Finding(signal_id, "length", reason)


def check_facts(signal_id: str, answer: str, input_text: str) -> Iterator[Finding]:
    """Amounts, percentages, dates, periods and references in the answer whose numbers the input does not hold."""
    held = {spelled for number in _DIGITS.findall(input_text) for spelled in (_plain(number), *_runs(number))}
    for kind, pattern in FACTS.items():
        for match in pattern.finditer(answer):
            numbers = _DIGITS.findall(match[0])
            if any(_plain(number) not in held and not held.issuperset(_runs(number)) for number in numbers):
                reason = (
                    f"the answer states {'an' if kind == 'amount' else 'a'} {kind} that its input does not hold "
                    f"({match[0].strip()[:60]}); put it into the input or take it out"
                )
                yield Finding(signal_id, "facts", reason)
                return


def _plain(number: str) -> str:
    """A number without signs between its digits, leading zeros and an empty fraction: 1,200.00 is 1200."""
    whole = re.sub(r"[.,]0{1,2}$", "", number)
    return re.sub(r"\D", "", whole).lstrip("0") or "0"


def _runs(number: str) -> list[str]:
    """A number's runs of digits without leading zeros: those of 3.05.2026 are 3, 5 and 2026."""
    return [run.lstrip("0") or "0" for run in re.findall(r"\d+", number)]


def sample(texts: Sequence[str]) -> list[str]:
    """At most SAMPLE distinct texts, by hash."""
    return sorted(set(texts), key=sha256)[:SAMPLE]


def tell_apart(left: Sequence[str], right: Sequence[str]) -> float:
    """How well a classifier tells two kinds of texts apart: area under its ROC curve, out of fold; 0.5 is not at all.

    Logistic regression on words and runs of characters; a classifier two-sample test (Lopez-Paz and Oquab 2017).
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    from tasks.suspects import word_features

    kinds = np.repeat([0, 1], [len(left), len(right)])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    model = LogisticRegression(class_weight="balanced", max_iter=200)
    scores = cross_val_predict(model, word_features([*left, *right]), kinds, cv=folds, method="decision_function")
    return float(roc_auc_score(kinds, scores))


def compare_inputs(given: Sequence[str], production: Sequence[str]) -> dict[str, float | int] | None:
    """How unlike production's inputs those of given demonstrations are; None where either are too few to say.

    `auc` tells the two apart, `by_chance` one half of production from the other.
    """
    ours, theirs = sample(given), sample(production)
    if min(len(ours), len(theirs)) < LEAST_OUTPUTS:
        return None
    halves = theirs[::2], theirs[1::2]
    return {
        "given": len(ours),
        "production": len(theirs),
        "auc": round(tell_apart(ours, theirs), 3),
        "by_chance": round(tell_apart(*halves), 3),
    }


def chat_tokenizer(base: str, trusts_code: bool = False) -> Any:
    """The base model's tokenizer, with its chat template.

    Raises:
        ConfigError: the base has no tokenizer or no chat template.
    """
    tokenizer = load_tokenizer(base, trusts_code)
    if not tokenizer.chat_template:
        raise ConfigError(f"model.base: {base} has no chat template, which training needs; give a chat model")
    return tokenizer


def count_tokens(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """How many tokens each text has."""
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []


def count_conversations(tokenizer: Any, conversations: Iterable[Conversation]) -> list[int]:
    """How many tokens each conversation has, as the chat template spells it out."""
    return [len(token_ids(tokenizer, *conversation, prompt=False)) for conversation in conversations]
