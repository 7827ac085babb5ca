"""Keys, tokens and passwords in running text.

Found are the tokens that their issuers mark with a prefix, private key blocks, JSON Web Tokens, passwords in URLs and
authorization headers, and values after words such as password, api key or token that look like a secret and not like
a word. A password of letters alone is not told from a word, and stays, except in a query or a connection string.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

from tasks.folding import BEYOND, NOTHING


class Secret(NamedTuple):
    """Where a secret is, and how many of its first characters only say of which sort it is."""

    start: int
    end: int
    keep: int = 0


# What has to be in the text, the prefix that is kept, the secret part; `_` and `-` come first where a prefix has them.
_ISSUED = {
    "_": (
        ("gh", "gh[opusr]_", "[A-Za-z0-9]{20,}"),
        ("github_pat_", "github_pat_", r"\w{20,}"),
        ("_live_", "[srp]k_live_", r"\w{12,}"),
        ("_test_", "[srp]k_test_", r"\w{12,}"),
        ("whsec_", "whsec_", r"[\w+/=]{16,}"),
        ("gsk_", "gsk_", "[A-Za-z0-9]{20,}"),
        ("hf_", "hf_", "[A-Za-z0-9]{20,}"),
        ("npm_", "npm_", "[A-Za-z0-9]{30,}"),
        ("shp", "shp(?:at|ca|pa|ss)_", "[A-Fa-f0-9]{32}"),
        ("dckr_", "dckr_[a-z]{3}_", r"[\w-]{16,}"),
        ("dop_v1_", "dop_v1_", "[0-9a-f]{32,}"),
        ("glsa_", "glsa_", r"\w{20,}"),
    ),
    "-": (
        ("sk-", "sk-(?:proj-|svcacct-|admin-|ant-(?:api03-|admin01-)?|or-v1-|lf-)?", r"(?=[\w-]{0,40}[0-9])[\w-]{20,}"),
        ("xox", "xox[a-z]-", r"(?=[\w-]{0,20}[0-9])[\w-]{15,}"),
        ("xapp-", "xapp-", r"[\w-]{15,}"),
        ("glpat-", "glpat-", r"[\w.-]{16,}"),
        ("GOCSPX-", "GOCSPX-", r"[\w-]{20,}"),
        ("pypi-", "pypi-", r"(?=[\w-]{0,40}[0-9])[\w-]{32,}"),
        ("key-", "key-", "[0-9a-f]{32}"),
        ("-us", "", "[0-9a-f]{32}-us[0-9]{1,2}"),
    ),
    "": (
        ("AKIA", "AKIA", "[A-Z0-9]{16}"),
        ("ASIA", "ASIA", "[A-Z0-9]{16}"),
        ("AIza", "AIza", r"[\w-]{30,}"),
        ("ya29.", r"ya29\.", r"[\w.-]{20,}"),
        ("SG.", r"SG\.", r"[\w-]{16,}\.[\w-]{16,}"),
        ("hvs.", r"hvs\.", r"[\w-]{20,}"),
        ("dapi", "dapi", "[0-9a-f]{32}"),
        ("AC", "AC", "[0-9a-f]{32}"),
        ("SK", "SK", "[0-9a-f]{32}"),
        (":AA", "", r"[0-9]{8,10}:AA[\w-]{32,}"),
        ("eyJ", "eyJ", r"[\w-]{5,}\.(?:eyJ)?[\w-]{5,}(?:\.[\w-]*){0,3}"),
        ("hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/", r"[\w/+-]{20,}"),
        ("/api/webhooks/", "/api/webhooks/", r"[\w/-]{30,}"),
    ),
}
_TOKENS = {
    joint: tuple((sign, re.compile(rf"(?<![A-Za-z0-9])({prefix})({body})", re.ASCII)) for sign, prefix, body in issued)
    for joint, issued in _ISSUED.items()
}

_LONG = 20
_LONG_WORD = re.compile(rf"[A-Za-z0-9_-]{{{_LONG}}}")  # every token has one

_BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(.{16,9000}?)(?=-----END)|([A-Za-z0-9+/=\r\n]{16,}))",
    re.DOTALL,
)
_IN_URL = re.compile(r"[a-z]://[^\s:/@\"'<>`]{0,80}:([^\s/@\"'<>`]{2,200})@")
_BEARER = re.compile(r"(?i:bearer)[ \n]{1,3}([\w.~+/-]{16,}=*)", re.ASCII)
_PAIR = re.compile(  # user/password: jane / secret
    r"(?i:user|login|username|id|mail)/(?i:pass(?:word)?|pwd?) ?[:=] ?[^\s/]{1,64} ?[/|:,] ?([^\s\"'<>`]{4,64})"
)
_BASIC = re.compile(r"(?i:basic)[ \n]{1,3}([A-Za-z0-9+/]{8,}={0,2})(?![\w+/=])", re.ASCII)

# Stems of words that announce a password or a key, in small letters, and how the words go on. A key alone may be any:
# only those are meant that _SORTS_OF_KEYS come before. Texts that the prefilter knows have one of _STEMS.
_PASSWORDS = {
    "pass": "pass(?:word|wd|wort|phrase|code|w|e)?",
    "pw": "(?<![a-z])pwd?(?![a-z])",
    "psw": "psw",
    "kennwort": "kennwort",
    "mdp": "mdp",
    "contrase": "contrase(?:ñ|n)a",
    "clave": "clave",
    "senha": "senha",
    "wachtwoord": "wachtwoord",
    "has": "has(?:ł|l)o",
    "parola": "parola",
    "senord": "senord",
    "adgangskode": "adgangskode",
    "salasana": "salasana",
    "ifre": "ifre",
    "пароль": "пароль",
    "密码": "密码",
    "密碼": "密碼",
    "パスワード": "パスワード",
    "비밀번호": "비밀번호",
}
_KEYS = {
    "key": "key",
    "token": "token",
    "secret": "secret",
    "credential": "credentials?",
    "sess": "sess(?:ion)?[ _-]?id",
    "csrf": "csrf",
    "xsrf": "xsrf",
    "jeton": "jeton",
    "authorization": "authorization",
    "clé ": "clé[ ](?:d'api|api|secrète)",
    "schlüssel": "schlüssel",
}
_SORTS_OF_KEYS = re.compile(
    r"(?:api|access|auth|secret|private|client|encryption|signing|account|master|service|app|application|consumer"
    r"|subscription|storage|shared|ssh|webhook|bot|deploy|admin|root|primary|secondary|server|user|functions)[ _.-]?\Z"
)
_MORE = "(?:s|[_-]?(?:key|id|value|token|secret|base64|b64|string|live|test|prod|dev)|[0-9]{1,2})?"
_IS = "is|was|are|to|ist|war|lautet|auf|zu|est|es|era|è|é|jest|este|это"
_NOW = "(?:[ ](?:now|set[ ]to|still|jetzt|noch|maintenant|ahora|currently))?"
_FOR = "(?:[ ](?:for|of|to|für|de|del|pour|para)(?:[ ][a-z]+){1,2})?"
_SEPARATOR = rf"""{_MORE}(?:
      ["'`\])*]{{0,3}}{_FOR}[ \t]{{0,3}}(?P<sign>:=|=>|->|==?|:|>|\|)[ \t\r\n]{{0,3}}(?P<quote>["'`*]?)
    | ["'`]?[ ](?:{_IS}){_NOW}:?[ ]{{1,2}}(?P<quoted>["'`]?)
    | ["'`]?[ \n]{{1,3}}(?P<bare>["'`(]?)(?=[^\s0-9]*[0-9]))"""
_CUES = tuple(
    (stem, is_password, re.compile(word + _SEPARATOR, re.VERBOSE))
    for is_password, words in ((True, _PASSWORDS), (False, _KEYS))
    for stem, word in words.items()
)
_ENGLISH = ("pass", "pw", "key", "token", "secret", "credential", "sess", "csrf", "authorization")
_CUES_IN_ENGLISH = tuple(cue for cue in _CUES if cue[0] in _ENGLISH)
# One of these comes between a word of _CUES that is not English and its value.
_NOT_ENGLISH = (":", "=", ">", "|", "st ", " es ", " è ", "это")
_VALUE = re.compile(rf"[^\s\"'<>`{NOTHING}]{{4,400}}")
_IN_QUERY = re.compile(rf"[^\s\"'<>`&;,{NOTHING}]{{4,400}}")
_PLACEHOLDER = re.compile(
    r"(?:\$[{(A-Z]|\{\{|%[(s{]|<|\[|:\w+$|\?\W*$|@[A-Za-z_]+$|\*{2}|•|x{3,}|\.{2,}|https?://|your[_-]"
    r"|(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[.:/][0-9]{1,2}[.:/]"
    r"|(?:process|os|env|config|settings|self|this|request|args)\.|[A-Za-z_][\w.]*[(\[])"
    r"|(?:password|passwort|passwd|pass|secret|token|null|none|true|false|undefined|string|required|changeme|redacted"
    r"|hidden|example|todo)\W*$",
    re.IGNORECASE,
)
_TRAILING = ".,;:!?)]}*|"
_AFTER_STRING = ("", ",", ":", "}", "]", ")", " ", "\t", "\r", "\n")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_OWNER = re.compile(
    r"\b(?:my|our|his|her|mein|unser|mon|notre|mi|mio|(?:login|user|username) \S{1,40})"
    r"(?: (?:old|new|neues|altes))? ?\Z",
    re.IGNORECASE,
)
_SIGN = re.compile(r"[!#$%&+?@^*=~]")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def secrets(text: str, lower: str) -> list[Secret]:
    """The secrets in a folded text, in order, none overlapping; `lower` is the text in small letters, equally long."""
    found: list[Secret] = []
    if max(map(len, text.split()), default=0) >= _LONG and _LONG_WORD.search(text):
        found.extend(secret for joint, tokens in _TOKENS.items() if joint in text for secret in _tokens(text, tokens))
    if "PRIVATE KEY" in text:
        found.extend(Secret(*match.span(match.lastindex or 0)) for match in _BLOCK.finditer(text))
    if "://" in text and "@" in text:
        found.extend(Secret(*m.span(1)) for m in _IN_URL.finditer(text) if not _PLACEHOLDER.match(m[1]))
    if "bearer" in lower:
        found.extend(Secret(*m.span(1)) for m in _BEARER.finditer(text) if is_random(m[1], 16))
    if "basic" in lower:
        found.extend(Secret(*m.span(1)) for m in _BASIC.finditer(text) if _is_login(m[1]))
    if "/pass" in lower or "/pw" in lower:
        found.extend(Secret(*m.span(1)) for m in _PAIR.finditer(text) if _is_password(m[1], True))
    for stem, is_password, cue in _CUES if any(sign in lower for sign in _NOT_ENGLISH) else _CUES_IN_ENGLISH:
        if stem in lower:
            found.extend(_announced(text, lower, cue, is_password, stem == "key"))
    return _apart(found) if len(found) > 1 else found


def _tokens(text: str, tokens: tuple[tuple[str, re.Pattern[str]], ...]) -> Iterator[Secret]:
    for sign, pattern in tokens:
        if sign in text:
            for match in pattern.finditer(text):
                yield Secret(match.start(), match.end(), match.end(1) - match.start())


def _apart(found: list[Secret]) -> list[Secret]:
    """From left to right, those that overlap made one."""
    kept: list[Secret] = []
    for secret in sorted(found, key=lambda each: (each.start, -each.end)):
        if not kept or secret.start >= kept[-1].end:
            kept.append(secret)
        elif secret.end > kept[-1].end:
            kept[-1] = Secret(kept[-1].start, secret.end, kept[-1].keep)
    return kept


def _announced(text: str, lower: str, cue: re.Pattern[str], is_password: bool, is_any_key: bool) -> Iterator[Secret]:
    """What follows a word that announces a secret, where it looks like one."""
    for match in cue.finditer(lower):
        begin, end = _value(text, match)
        value, sure, bare = text[begin:end], match["sign"] is not None, match["bare"] is not None
        if is_any_key and not _SORTS_OF_KEYS.search(lower, max(0, match.start() - 20), match.start()):
            is_secret = sure and is_random(value, 20, strict=True) and not _UUID.fullmatch(value)
        elif not is_password:
            is_secret = is_random(value, 16 if bare or not sure else 10, strict=bare)
        elif bare:
            is_secret = _is_password(value, False) and _is_somebodys(text, match.start(), begin, end)
        else:
            is_secret = _is_password(value, sure) or (sure and _is_parameter(text, begin, end))
        if is_secret and not _PLACEHOLDER.match(value) and (value.isdigit() or not _NUMBER.fullmatch(value)):
            yield Secret(begin, end)


def _value(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Where the value is: between quotation marks, in a query up to the next parameter, else up to a space."""
    begin = match.end()
    quote = match["quote"] or match["quoted"]
    if quote and text[begin : begin + 1] in _AFTER_STRING:
        return begin, begin  # the quotation mark ended something
    closing = text.find(quote, begin, begin + 400) if quote else -1
    if closing > begin and "\n" not in text[begin:closing]:
        return begin, closing
    value = (_IN_QUERY if text[begin - 1] == "=" else _VALUE).match(text, begin)
    return begin, begin + len(value[0].rstrip(_TRAILING)) if value else begin


def _is_parameter(text: str, begin: int, end: int) -> bool:
    """Whether name=value stands in a query or a connection string, where a plain word is a value too."""
    attached = text[begin - 1] == "=" and end - begin >= 4
    return attached and (text[end : end + 1] in ("&", ";") or "?" in text[max(0, begin - 80) : begin].split(" ")[-1])


def _is_somebodys(text: str, cue: int, begin: int, end: int) -> bool:
    """Whether "password X" without a sign between speaks of a password: it has signs, or an owner stands before it."""
    if _OWNER.search(text, max(0, cue - 48), cue):
        return True
    return end - begin >= 8 and not text[begin:end].isdigit() and bool(_SIGN.search(text, begin, end + 1))


def _is_password(value: str, sure: bool) -> bool:
    """Whether it is rather a password than a word, a date or a length; `sure` where a colon or = comes before it."""
    if value.isdigit():
        return (4 if sure else 6) <= len(value) <= 32
    if not any(map(str.isalpha, value)):
        return False
    if any(map(str.isdigit, value)):
        return len(value) >= 5
    signs = any(not char.isalnum() and char not in "-'.,/ _" for char in value[:-1])
    inner_capital = value[1:] != value[1:].lower() and value != value.upper()
    return len(value) >= 6 and (signs or (inner_capital and sure and len(value) >= 8))


_TURN = re.compile(r"(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")
_CHANGE = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")


def is_random(value: str, least: int, strict: bool = False) -> bool:
    """Whether a value of `least` characters or more changes between letters, capitals and digits as drawn ones do.

    Of 20 characters drawn from all three, 12 differ in sort from the one before; in words written together with
    capitals it is 8 at most. Where a word and a sign before the value say that it is a secret (not `strict`), half of
    that will do.
    """
    if len(value) < least:
        return False
    changes, least_changes = len(_CHANGE.findall(value)) / len(value), 0.42
    if not strict and value != value.lower() and value != value.upper():
        least_changes = 0.25 if any(map(str.isdigit, value)) else 0.35
    return len(_TURN.findall(value)) >= (4 if strict else 3) or changes >= least_changes


def _is_login(value: str) -> bool:
    """Whether it is base64 of name:password (RFC 7617)."""
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4))
    except binascii.Error:
        return False


# The prefilter: the beginnings of the tokens, and the words with what may part them from a value. JSON may have escaped
# quotation marks, slashes and line ends, hence the backslashes.
_BEGINNINGS = (
    r"gh[opusr]_[A-Za-z0-9]|github_pat_|[srp]k_(?:live|test)_|whsec_|gsk_|hf_[A-Za-z0-9]|npm_|shp(?:at|ca|pa|ss)_|dckr_|dop_v1"
    r"|glsa_|sk-[A-Za-z0-9_]|xox[a-z]-|xapp-|glpat-|GOCSPX-|pypi-|key-[0-9a-f]{4}|[0-9a-f]{4}-us[0-9]|A[KS]IA[A-Z0-9]|AIza"
    r"|ya29\.|SG\.|hvs\.|dapi[0-9a-f]{4}|(?:AC|SK)[0-9a-f]{4}|[0-9]:AA|eyJ|hooks\.slack|api\\*/webhooks|PRIVATE KEY"
)
_L = f"[{BEYOND}]"
_STEMS = (
    rf"pass|pw|psw|kennwort|mdp|contrase|clave|senha|wachtwoord|has[l{BEYOND}]o|parola|senord|adgangskode|salasana|ifre"
    rf"|token|secret|key|credential|sess(?:ion)?.?id|authorization|csrf|xsrf|cl{_L} |jeton|schl{_L}ssel"
)
_SCRIPTS = "\u0400-\u04ff\u3040-\ud7ff"  # of the words that are all beyond ASCII
_BLANK, _IN_WORD = rf"[\s\\{BEYOND}]", rf"[A-Za-z0-9_\"'`\])*(\\{BEYOND}-]"
_IS_STEMS = "|".join(sorted({"".join(char if char.isascii() else _L for char in word) for word in _IS.split("|")}))
SIGNS = "|".join(
    (
        _BEGINNINGS,
        rf"(?i:bearer|basic){_BLANK}+[A-Za-z0-9]",
        rf"(?:(?i:{_STEMS})|[{_SCRIPTS}]|{_L}{{3}}){_IN_WORD}*"
        rf"(?:{_BLANK}*[:=>|：＝]|{_BLANK}(?i:{_IS_STEMS})(?:{_BLANK}|:)|{_BLANK}+[^\s0-9]*[0-9]"
        rf"|{_BLANK}(?i:for|of|to|f{_L}r|del?|pour|para) [A-Za-z]+(?: [A-Za-z]+)?{_BLANK}?[:=])",
    )
)
