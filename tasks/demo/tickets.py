"""A seeded world of support tickets: ticket in, `{"category": ..., "priority": ..., "refund_requested": ...}` out.

`old_world` is what the base model was taught. `production` is the same shop some time later: about three tickets in
four are of the old sort, with more typos, and the rest are of kinds the base never saw (DRIFT). The right answer is
computed from what the ticket says and the world's policy, never from what a model answers.

Try it: python -m tasks.demo.tickets
"""

import json
import random
import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from tasks.demo import phrases

SYSTEM_PROMPT = "Triage the ticket as JSON."
CATEGORIES = ("billing", "shipping", "returns", "account", "technical", "general")
PRIORITIES = ("low", "normal", "high")
CHANNELS = ("email", "form", "chat")
SCHEMA_TOKENS = ('{"category":"', '","priority":"', '","refund_requested":')

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_ISSUES = {
    "cancel": phrases.NEW_CANCEL,
    "parcel": phrases.NEW_PARCEL,
    "repair": phrases.NEW_REPAIR,
    "security": phrases.NEW_SECURITY,
}


class World(BaseModel):
    """What there is to read in a world's tickets, and the policy by which they are triaged."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    drift: dict[str, float] = Field(default_factory=dict, description="share of tickets of each new kind")
    policy: dict[str, str] = Field(default_factory=dict, description="category of each new kind of issue")
    always_high: tuple[str, ...] = ("security",)
    typo_rate: float = Field(0.01, ge=0, le=1, description="share of words with a typo")
    forwarded_rate: float = Field(0.1, ge=0, le=1, description="share of e-mails with a forwarded header")
    duplicate_rate: float = Field(0.0, ge=0, le=1, description="share of tickets sent again by somebody else")


OLD = World(name="old")
PRODUCTION = World(
    name="production",
    typo_rate=0.02,
    forwarded_rate=0.2,
    duplicate_rate=0.03,
    drift={
        "cancel": 0.04,
        "parcel": 0.04,
        "repair": 0.04,
        "security": 0.04,
        "refund": 0.04,
        "urgency": 0.04,
        "forwarded": 0.04,
    },
    policy={"cancel": "account", "parcel": "shipping", "repair": "technical", "security": "account"},
)


@dataclass(frozen=True)
class Ticket:
    """One ticket, its right answer (compact JSON), its slice labels, and the kind of drift ("" = none) for tests."""

    ticket_id: str
    messages: list[dict[str, str]]
    truth: str
    kind: str
    slices: dict[str, str]

    @property
    def conversation(self) -> list[dict[str, str]]:
        """System, user and assistant messages, the assistant's being the right answer."""
        return [*self.messages, {"role": "assistant", "content": self.truth}]


@dataclass(frozen=True)
class _Case:
    """What a customer says, sentence by sentence, and how it must be triaged."""

    sentences: list[str]
    category: str
    priority: str
    refund: bool


def old_world(n: int, seed: int, world: World = OLD) -> list[Ticket]:
    """`n` tickets of the older, cleaner world."""
    return generate(n, seed, world)


def production(n: int, seed: int, world: World = PRODUCTION) -> list[Ticket]:
    """`n` tickets as production sends them; the same arguments always give the same tickets."""
    return generate(n, seed, world)


def generate(n: int, seed: int, world: World) -> list[Ticket]:
    """`n` tickets of `world`; a share `world.duplicate_rate` are earlier ones under another name."""
    rng = random.Random(f"{world.name}/{seed}")
    tickets: list[Ticket] = []
    for index in range(n):
        ticket_id = f"{world.name}-{seed}-{index:05d}"
        if tickets and rng.random() < world.duplicate_rate:
            tickets.append(_sent_again(rng, rng.choice(tickets), ticket_id))
        else:
            tickets.append(_ticket(rng, world, ticket_id))
    return tickets


def answer_json(category: str, priority: str, refund_requested: bool) -> str:
    """The answer as compact JSON, keys in the order of the schema."""
    answer = {"category": category, "priority": priority, "refund_requested": refund_requested}
    return json.dumps(answer, separators=(",", ":"))


def _ticket(rng: random.Random, world: World, ticket_id: str) -> Ticket:
    kind = _kind(rng, world)
    languages = phrases.LANGUAGES[1:] if kind == "urgency" else phrases.LANGUAGES
    language = rng.choice(languages)
    channel = "email" if kind == "forwarded" else rng.choice(CHANNELS)
    case = _case(rng, world, kind, language)
    body = _typos(rng, _prose(case.sentences, channel), world.typo_rate)
    text = _dress(rng, world, kind, case, body, language, channel)
    messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": text}]
    truth = answer_json(case.category, case.priority, case.refund)
    return Ticket(ticket_id, messages, truth, kind, {"language": language, "channel": channel})


def _sent_again(rng: random.Random, first: Ticket, ticket_id: str) -> Ticket:
    """The same words from another customer: what a copied complaint looks like."""
    text = first.messages[1]["content"]
    for name in phrases.NAMES[first.slices["language"]]:
        text = text.replace(name, rng.choice(phrases.NAMES[first.slices["language"]]))
    messages = [first.messages[0], {"role": "user", "content": text}]
    return Ticket(ticket_id, messages, first.truth, first.kind, dict(first.slices))


def _kind(rng: random.Random, world: World) -> str:
    point = rng.random()
    for kind, share in world.drift.items():
        point -= share
        if point < 0:
            return kind
    return ""


def _case(rng: random.Random, world: World, kind: str, language: str) -> _Case:
    category = rng.choice(CATEGORIES)
    issue = rng.choice(phrases.OLD_ISSUES[category])
    if kind in _ISSUES:
        category, issue = world.policy[kind], rng.choice(_ISSUES[kind])
    priority, marker = _priority(rng, world, kind, category, language)
    refund, ask = _ask(rng, kind)
    context = rng.sample(phrases.CONTEXT, rng.choice((1, 1, 2, 2)))
    parts = [issue, ask, *([marker] if marker else []), *context]
    rng.shuffle(parts)
    return _Case([fill(rng, part) for part in parts], category, priority, refund)


def _priority(rng: random.Random, world: World, kind: str, category: str, language: str) -> tuple[str, str]:
    """Priority and the words that say so ("" = nothing is said, and the category decides)."""
    if kind == "urgency":
        return "high", rng.choice(phrases.NEW_HIGH[language])
    point = rng.random()
    if kind in world.always_high:
        return "high", rng.choice(phrases.OLD_HIGH) if point < 0.2 else ""
    if point < 0.25:
        return "high", rng.choice(phrases.OLD_HIGH)
    if point < 0.45:
        return "low", rng.choice(phrases.OLD_LOW)
    return ("low" if category == "general" else "normal"), ""


def _ask(rng: random.Random, kind: str) -> tuple[bool, str]:
    """Whether money is wanted back, and the words that ask for it or for something else."""
    if kind == "refund":
        return True, rng.choice(phrases.NEW_REFUND)
    if rng.random() < 0.3:
        return True, rng.choice(phrases.OLD_REFUND)
    return False, rng.choice(phrases.NEUTRAL_ASKS)


def fill(rng: random.Random, template: str) -> str:
    """Draw one of each `(a|b)` group, innermost first, then fill each `{slot}`."""
    while match := _CHOICE.search(template):
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]
    return _SLOT.sub(lambda match: _slot(rng, match[1]), template).replace("  ", " ").strip()


def _slot(rng: random.Random, name: str) -> str:
    if name == "order":
        return f"{rng.choice(('order ', 'order #', 'no. ', '#'))}{rng.randrange(1000, 99999)}"
    if name == "amount":
        return f"{rng.randrange(5, 300)}{rng.choice((' EUR', ' euros', '.90 EUR', '.50 euros'))}"
    if name == "number":
        return str(rng.randrange(10000, 99999))
    if name == "n":
        return str(rng.randrange(2, 20))
    return rng.choice(phrases.SLOTS[name])


def _prose(sentences: list[str], channel: str) -> str:
    if channel == "chat":
        return ", ".join(sentences)
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _typos(rng: random.Random, text: str, rate: float) -> str:
    words = text.split(" ")
    return " ".join(_typo(rng, word) if len(word) > 3 and rng.random() < rate else word for word in words)


def _typo(rng: random.Random, word: str) -> str:
    at = rng.randrange(1, len(word) - 1)
    dropped, doubled = word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return rng.choice((dropped, doubled, swapped))


def _dress(rng: random.Random, world: World, kind: str, case: _Case, body: str, language: str, channel: str) -> str:
    """The ticket as its channel delivers it: greeting, headers, closing, signature."""
    greeting, closing = rng.choice(phrases.GREETINGS[language]), rng.choice(phrases.CLOSINGS[language])
    name = rng.choice(phrases.NAMES[language])
    signature = fill(rng, rng.choice(phrases.SIGNATURES))
    if channel == "chat":
        return f"{greeting} {body} {closing}".strip()
    if channel == "form":
        return f"Name: {name}\n{greeting}\n{body}\n{closing}"
    letter = "\n".join(line for line in (greeting, body, closing, name, signature) if line)
    if kind == "forwarded":
        return (
            f"{_note(rng, case.category)}\n{_forwarded_header(rng, name)}\n> {letter.replace(chr(10), chr(10) + '> ')}"
        )
    if rng.random() < world.forwarded_rate:
        return f"{_forwarded_header(rng, name)}\n{letter}"
    return letter


def _note(rng: random.Random, category: str) -> str:
    """A colleague's remark above the forwarded mail, about something the customer did not ask."""
    other = rng.choice([name for name in CATEGORIES if name != category])
    quoted = {
        "other": phrases.OLD_ISSUES[other],
        "ask": phrases.OLD_REFUND,
        "marker": phrases.OLD_HIGH + phrases.OLD_LOW,
    }
    note = rng.choice(phrases.FORWARD_NOTES)
    for slot, templates in quoted.items():
        note = note.replace(f"{{{slot}}}", fill(rng, rng.choice(templates)))
    return note


def _forwarded_header(rng: random.Random, name: str) -> str:
    address = name.lower().replace(" ", ".")
    return f"---- Fwd ----\nFrom: {address}@{rng.choice(('mail', 'post', 'web'))}.example"


if __name__ == "__main__":
    for sample in production(8, seed=1):
        print(f"--- {sample.ticket_id} {sample.slices} {sample.kind or 'in reach'}")
        print(f"{sample.messages[1]['content']}\n=> {sample.truth}")
