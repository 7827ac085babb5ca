"""Telephone numbers in running text.

Three ways to be one: an international form (+49 ..., 0049 ...) whose length fits its country; a national form that is
grouped as telephone numbers are and other numbers are not; and any run of digits after a word such as tel or phone.
Lengths are the possible ones of the ITU-T E.164 numbering plans, groupings those that the countries write.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from tasks.folding import BEYOND

About = Literal["phone", "perhaps", "other", ""]

# Country code: fewest and most digits of a national number.
_LENGTHS = """
1:10 7:10-10 20:8-10 27:5-10 30:10-12 31:7-11 32:8-9 33:9 34:9 36:8-9 39:6-12 40:6-9 41:9 43:4-13 44:7-10 45:8 46:6-12
47:5-8 48:7-10 49:5-13 51:8-9 52:10 53:6-10 54:10-11 55:8-11 56:9-11 57:8-11 58:10 60:8-10 61:6-12 62:7-13 63:6-13
64:5-10 65:8-11 66:8-13 81:8-13 82:5-14 84:7-10 86:7-12 90:7-13 91:8-13 92:8-12 93:9 94:9 95:6-10 98:4-10 211:9 212:9
213:8-9 216:8 218:9 220:7-9 221:9 222:8 223:8 224:8-9 225:10 226:8 227:8 228:8 229:8-10 230:7-10 231:7-9 232:8 233:8-9
234:8-14 235:8 236:8 237:8-9 238:7 239:7 240:9 241:7-8 242:9 243:7-10 244:9 245:7-9 246:7 247:5-6 248:7 249:9 250:8-9
251:9 252:6-9 253:8 254:7-10 255:9 256:9 257:8 258:8-9 260:9 261:9 262:9 263:7-10 264:8-9 265:7-9 266:8 267:7-10
268:8-9 269:7 290:4-5 291:7 297:7 298:6 299:6 350:8 351:9 352:4-11 353:7-10 354:7-9 355:6-9 356:8 357:8 358:5-12
359:6-12 370:8 371:8 372:7-10 373:8 374:8 375:6-11 376:6-9 377:8-9 378:6-10 380:9-10 381:6-12 382:8-9 383:8-12 385:7-9
386:5-8 387:8-9 389:8 420:9-12 421:6-9 423:7-9 500:5 501:7-11 502:8-11 503:7-11 504:8-11 505:8 506:8-10 507:7-11
508:6-9 509:8 590:9 591:8-9 592:7 593:8-11 594:9 595:6-11 596:9 597:6-7 598:4-13 599:7-8 670:7-8 672:6 673:7 674:7
675:7-8 676:5-7 677:5-7 678:5-7 679:7-11 680:7 681:6-9 682:5 683:4-7 685:5-10 686:5-8 687:6 688:5-7 689:6-9 690:4-7
691:7 692:7 800:8 808:8 850:8-10 852:5-9 853:8 855:8-10 856:8-10 870:9-12 878:12 880:6-10 881:9-10 882:7-12 883:8-12
886:7-11 888:11 960:7-10 961:7-8 962:8-9 963:8-9 964:8-10 965:7-8 966:9-10 967:7-9 968:7-9 970:8-10 971:5-12 972:7-12
973:8 974:7-11 975:7-8 976:8-10 977:8-11 979:9 992:9 993:8 994:9 995:9 996:9-10 998:9
"""
MOST_DIGITS = 15  # of an international number, country code included


def _lengths() -> dict[str, tuple[int, int]]:
    pairs = (entry.split(":") for entry in _LENGTHS.split())
    return {code: (int(span.split("-")[0]), int(span.split("-")[-1])) for code, span in pairs}


NSN_LENGTHS = _lengths()

# Words before a telephone number, in small letters: parts of words, whole words, and words after which a number may be
# something else as well. Each has one of _STEMS in it.
PHONE_INSIDE = (
    *(
        "phone",
        "téléphon",
        "telephon",
        "telefo",
        "teléfo",
        "telefó",
        "telèfo",
        "telepon",
        "telpon",
        "mobil",
        "mobiel",
        "móvil",
        "movil",
    ),
    *(
        "celular",
        "cellul",
        "handynummer",
        "handynr",
        "rufnummer",
        "rufnr",
        "whatsapp",
        "hotline",
        "телефон",
        "тел",
        "моб",
    ),
    *(
        "फोन",
        "फ़ोन",
        "मोबाइल",
        "电话",
        "電話",
        "手机",
        "手機",
        "携帯",
        "전화",
        "연락처",
        "هاتف",
        "جوال",
        "טלפון",
        "נייד",
        "โทร",
        "τηλ",
        "☎",
        "✆",
        "📞",
        "📱",
        "📲",
    ),
)
_PHONE_WORDS = "tel telno telnr tél telf teln tele fon phon cell cel handy gsm mob fax telefax sms"
_PERHAPS_WORDS = "call calling callback ring ruf rufen anruf anrufen dial bel bellen portable"
PHONE_WORDS, PERHAPS_WORDS = frozenset(_PHONE_WORDS.split()), frozenset(_PERHAPS_WORDS.split())
PERHAPS_FRONT = ("contact", "kontakt", "contatt", "erreich", "appel", "llam", "chiam", "reach", "звон", "позвон")
_PAIRS = frozenset({("text", "me"), ("text", "us"), ("wa", "me")})
# Words before numbers of other sorts; the nearer word decides.
OTHER_INSIDE = (
    *("order", "auftrag", "bestell", "commande", "pedido", "ordine", "encomenda", "zamówien", "invoice", "rechnung"),
    *(
        "facture",
        "factura",
        "fattura",
        "fatura",
        "ticket",
        "tracking",
        "sendung",
        "parcel",
        "paket",
        "shipment",
        "colis",
    ),
    *("kundennummer", "kundennr", "account", "konto", "compte", "cuenta", "article", "artikel", "serial", "serien"),
    *("product", "produkt", "version", "firmware", "contract", "vertrag", "contrat", "booking", "buchung", "reserv"),
    *(
        "transact",
        "voucher",
        "gutschein",
        "coupon",
        "betrag",
        "quantity",
        "population",
        "zähler",
        "timestamp",
        "referen",
    ),
)
_OTHER_WORDS = """
case ref customer client item sku imei model models part parts app apps build isbn issn ean gtin upc asin vat ust
tax tva nip pesel siret siren zip plz code codes policy amount total price preis qty meter batch charge blz commit
issue error fehler kunde kunden cost costs id ids kdnr mileage epoch offset checksum revenue umsatz steuer dhl ups
dpd gls fedex usps
"""
OTHER_WORDS = frozenset(_OTHER_WORDS.split())
_WORD = re.compile(r"[A-Za-z\u00aa\u00c0-\u1fff\u2600-\U0010ffff]+")
_NOT_A_TELEPHONE = (
    "iphone",
    "headphone",
    "earphone",
    "smartphone",
    "microphone",
    "megaphone",
    "speakerphone",
    "automobil",
)
_INITIAL = re.compile(r"(?:^|[\s|,;(·•\"'>])[tmpfchwo]: ?\(?\Z")
_LONGEST = 48  # characters of a number with all its separators
# Characters before a number that are read, and that may part it from its word.
_WINDOW, _GAP, _OTHER_GAP = 60, 36, 18

# Groupings of digits (_S_ is what separates them). Every number that is written in groups, and not internationally, has
# one; dates, times and most prices have none.
SHAPES = (
    r"[0-9]{2}_S_+[0-9]{5}|[0-9]_S_+[0-9]{7}|[0-9]{3}_S_+[0-9]{4}|[0-9]{2}_S_+[0-9]{3}_S_+[0-9]{2}|[0-9]{5}_S_+[0-9]{3}"
    r"|(?:^|[^0-9])(?:[0-9]{2,3}(?:_S_+[0-9]{2}){3}|[0-9]{3}(?:_S_+[0-9]{2}){2})|[0-9]{4}_W_+[0-9]{2}_S_+[0-9]{2}"
    r"|[0-9]{12}|[0-9](?:_S_[0-9]){7}"
)
has_shape = re.compile(SHAPES.replace("_S_", "[ .()/-]").replace("_W_", "[ )]")).search

_GROUP = re.compile(r"[0-9]+")
_NATIONAL = re.compile(
    r"""(?<![0-9])(?:
      (?P<trunk>\(?0[1-9][0-9]{0,4}\)?(?:[ /()-]{1,3}[0-9]{2,8}){1,5})
    | (?P<dotted>0[1-9](?:\.[0-9]{2}){4}|0[1-9][0-9]{1,3}\.[0-9]{3,4}(?:\.[0-9]{2,4}){0,2}|0[1-9][0-9]{1,3}\.[0-9]{6,8})
    | (?P<area>\([0-9]{2,5}\)[ ./-]{0,3}[0-9]{2,9}(?:[ .-]{1,3}[0-9]{2,4}){0,3})
    | (?:1[ .-]{1,2})?\(?[2-9][0-9]{2}\)?[ ./-]{1,3}[0-9]{3}[ .-]{1,3}[0-9]{4}
    | 3[1-9][0-9][ ./-][0-9]{6,7}
    | (?P<threes>[2-9][0-9]{2}(?P<sep>[ -])[0-9]{3}(?P=sep)[0-9]{3})
    | [1-9][0-9][ .-][0-9]{3}[ .-][0-9]{2}[ .-][0-9]{2}
    | [1-9][0-9]{2}[ .-][0-9]{2}[ .-][0-9]{2}[ .-][0-9]{2}
    | [6-9][0-9]{4}[ -][0-9]{5}
    | 1[3-9][0-9][ -][0-9]{4}[ -][0-9]{4}
    | 8[ -]?\(?[0-9]{3}\)?[ -]?[0-9]{3}[ -][0-9]{2}[ -][0-9]{2}
    | [1-9][0-9][ ]9?[0-9]{4}-[0-9]{4}
    )(?![0-9])""",
    re.VERBOSE,
)
_NO_NATIONAL = re.compile(r"[0-9]{5}-[0-9]{4}|[0-9]+/0.*|\((?:19|20)[0-9]{2}\).*")  # ZIP+4, an invoice's number, a year
_EXTENSION = re.compile(
    r"(?i)[ ,;]{0,2}(?:;ext=|(?:ext(?:ension|n)?|durchwahl|dw|poste|interno|int|wew|доб|anexo|x)[.:]? {0,2}|#)"
    r"[0-9]{1,6}(?![0-9])"
)
_UNIT = re.compile(
    r" ?(?i:€|\$|£|%|zł|eur|usd|gbp|pln|chf|inr|rs|euros?|dollars?|pounds?|units?|users?|people|habitan|einwohner|stück"
    r"|pieces?|pcs|km|kg|m²|mb|gb|ms|bytes?|rows?|records?|times|views?|followers?|abonn)(?![^\W\d_])"
)
_DECIMALS = re.compile(r",[0-9]{1,2}(?![0-9])")
_AMOUNT = re.compile(
    r"[1-9][0-9]{0,2}(?:[ .][0-9]{3})*[ .]000|[0-9]+\.[0-9]{1,2}"
    r"|(?![0-9]{2}\.[0-9]{2}\.[0-9]{2}$)[0-9]{1,2}(?:\.[0-9]{1,3}){2,3}"
)
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:[ .][0-9]{3})+")
_JOINS = frozenset(" -./")


class Phone(NamedTuple):
    """Where a number is, and how many of its first digits say only which country or sort of line it is."""

    start: int
    end: int
    keep: int


class Context(NamedTuple):
    """What the nearest word before a number says it is, and what stands between the two."""

    about: About
    gap: str = ""


def phones(text: str, start: int, end: int, after: int = -1) -> list[Phone]:
    """Telephone numbers in a stretch of digits and separators that begins and ends with digits, + or a bracket.

    `after` is the end of the telephone number before the stretch, -1 for none: "tel. 5550143 or 5550199".
    """
    found: list[Phone] = []
    while end - start >= 6:
        international = _international(text, start, min(end, start + _LONGEST))
        if international is None:
            break
        found.append(international)
        start = after = international.end
        while start < end and text[start] in " ./-":
            start += 1
    if end - start < 6:
        return found
    nationals = _nationals(text, start, end, after) if has_shape(text[start:end]) else []
    if not nationals and (announced := _announced(text, start, end, after)):
        nationals.append(announced)
    return found + nationals


def _international(text: str, start: int, end: int) -> Phone | None:
    """The number that starts with + (or %2B), 00 or 011 and a country code, if its length fits the country."""
    if text.startswith(("(00", "(011"), start):
        start += 1
    if text[start] not in "+0" and text[max(0, start - 3) : start] not in ("%2B", "%2b"):
        return None
    prefix = _exit_code(text, start, end)
    if prefix is None:
        return None
    groups = list(_GROUP.finditer(text, start + prefix, end))
    digits = "".join(group[0] for group in groups)
    code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in NSN_LENGTHS), None)
    if code is None:
        return None
    low, high = NSN_LENGTHS[code]
    trunk = digits[len(code) : len(code) + 1] == "0"
    stop, count = _up_to(groups, min(len(code) + high + trunk, MOST_DIGITS + trunk), len(code) + max(low, 7))
    if count - len(code) < low or count < 7:
        return None
    keep = sum(map(str.isdigit, text[start : start + prefix])) + len(code) + trunk + 1
    return Phone(start, _with_extension(text, stop), keep)


def _exit_code(text: str, start: int, end: int) -> int | None:
    """Characters of what comes before the country code; None where the stretch does not begin so."""
    if text[start] == "+":
        glued = text[max(0, start - 1) : start].isalnum()
        return None if glued and context(text, start).about != "phone" else 1
    if text[max(0, start - 3) : start] in ("%2B", "%2b"):
        return 0
    length = 3 if text.startswith(("011 ", "011-"), start) else 2 if text.startswith("00", start) else 0
    number = text[start + length : end].strip(" ()-./")
    if not length or number[:1] in ("", "0") or not has_shape(text[start:end]):
        return None
    about = context(text, start).about
    padded = number.isdigit() and length + len(number) < 12  # short and in one piece: rather a number filled with zeros
    return None if about == "other" or (about != "phone" and (padded or _is_attached(text, start))) else length


def _up_to(groups: list[re.Match[str]], most: int, enough: int = 8) -> tuple[int, int]:
    """Where the last group ends with which there are `most` digits at most, and how many there are then.

    After `enough` digits, a slash or a bracket parts one number from the next, as does a single digit after a space.
    """
    stop = count = 0
    for group in groups:
        size, gap = group.end() - group.start(), group.string[stop : group.start()]
        if count + size > most or (count >= enough and ("/" in gap or gap == " (" or (size == 1 and gap == " "))):
            break
        stop, count = group.end(), count + size
    return stop, count


def _with_extension(text: str, end: int) -> int:
    match = _EXTENSION.match(text, end)
    return match.end() if match else end


def _nationals(text: str, start: int, end: int, after: int) -> list[Phone]:
    found: list[Phone] = []
    for match in _NATIONAL.finditer(text, start, end):
        if national := _national(text, match, after):
            found.append(national)
            after = national.end
    return found


def _national(text: str, match: re.Match[str], after: int) -> Phone | None:
    """What is grouped as a telephone number, unless its surroundings say that it is something else."""
    start = match.start()
    end, digits = _up_to(list(_GROUP.finditer(text, start, match.end())), 12 if match["trunk"] else MOST_DIGITS)
    if digits < 9 or not has_shape(text[start:end]) or _DECIMALS.match(text, end):
        return None
    if match["threes"] and (text.endswith("000", start, end) or _UNIT.match(text, end) or _is_money(text, start)):
        return None
    about = context(text, start).about
    if about == "other":
        return None
    if about != "phone" and (
        _NO_NATIONAL.fullmatch(text, start, end)
        or _is_attached(text, start)
        or _is_continued(text, end)
        or _is_part(text, start, end, after)
    ):
        return None
    return Phone(start, _with_extension(text, end), _kept(text, start))


def _kept(text: str, start: int) -> int:
    """One digit, and the trunk prefix (0, or 1 and 8 where they are written) before it."""
    first = text[start + 1] if text[start] == "(" else text[start]
    return 2 if first == "0" or (first in "18" and text[start + 1 : start + 2] in " .-(") else 1


def _announced(text: str, start: int, end: int, after: int) -> Phone | None:
    """The run of 6 to 15 digits after a word that announces a telephone number."""
    about, gap = context(text, start)
    if not about and after >= 0 and start - after <= 8:
        about = "phone"
    if about not in ("phone", "perhaps") or _DECIMALS.match(text, end):
        return None
    groups = list(_GROUP.finditer(text, start, end))
    stop, count = _up_to(groups, MOST_DIGITS)
    written = text[groups[0].start() : stop]
    if len(groups[0][0]) > 13 or count < (6 if about == "phone" else 7) or _is_amount(written, about, gap):
        return None
    if _is_continued(text, stop) or _UNIT.match(text, stop):
        return None
    if any(map(str.isdigit, gap)) and not has_shape(written) and not _LABELLED.search(text, max(0, start - 16), start):
        return None  # the prefilter does not remember a word over other digits
    opening = start if text[start] == "(" else groups[0].start()
    return Phone(opening, _with_extension(text, stop), _kept(text, groups[0].start()))


def _is_amount(written: str, about: About, gap: str) -> bool:
    in_thousands = about == "perhaps" and len(gap) > 2 and _THOUSANDS.fullmatch(written)
    return bool(in_thousands or _AMOUNT.fullmatch(written))


def _is_money(text: str, start: int) -> bool:
    return text[max(0, start - 4) : start].rstrip().upper().endswith(("€", "$", "£", "EUR", "USD", "GBP", "PLN", "CHF"))


def _is_attached(text: str, start: int) -> bool:
    """Whether the number is the end of something longer, such as a product code or a path."""
    before, further = text[max(0, start - 1) : start], text[max(0, start - 2) : max(0, start - 1)]
    return is_letter(before) or before in ("_", "#") or (before in ("-", ".", "/") and is_letter(further))


def _is_continued(text: str, end: int) -> bool:
    """Whether the number is the beginning of something longer, and that is no extension."""
    following = text[end : end + 1]
    if following in ("x", "e", "#") and _EXTENSION.match(text, end):
        return False
    return is_letter(following) or following == "_" or (following == "-" and text[end + 1 : end + 2].isalpha())


def is_letter(char: str) -> bool:
    """Whether it is a letter or digit of a script that parts words by spaces."""
    return char.isalnum() and char < "\u2e80"


def _is_part(text: str, start: int, end: int, after: int) -> bool:
    """Whether there are more groups of digits on either side, as in the number of a parcel."""
    before, behind = text[max(0, start - 2) : start], text[end : end + 2]
    if before[-1:] in _JOINS and before[:1].isdigit() and not 0 <= start - after <= 3:
        return True
    return behind[1:].isdigit() and (behind[:1] in ("-", ".") or (behind[:1] in (" ", "/") and behind[1:] != "0"))


def context(text: str, start: int) -> Context:
    """What the words before a number say it is: the nearest one decides."""
    begin = max(0, start - _WINDOW)
    window = text[begin:start].lower()
    words = list(_WORD.finditer(window, 1 if begin else 0))  # the first letter may be the last one of a longer word
    if words and begin and words[0].start() == 1 and window[0].isalpha():
        del words[0]
    for place in range(len(words) - 1, -1, -1):
        word, gap = words[place][0], window[words[place].end() :]
        if len(gap) > _GAP:
            break
        about = _meaning(word, words[place - 1][0] if place else "")
        if about and len(gap) <= (_OTHER_GAP if about == "other" else _GAP) and _reaches(gap, word in PHONE_WORDS):
            return Context("phone", gap) if _INITIAL.search(window) else Context(about, gap)
    return Context("phone", ":") if _INITIAL.search(window) else Context("")


@lru_cache(maxsize=20_000)
def _meaning(word: str, before: str) -> About:
    if word in OTHER_WORDS or any(part in word for part in OTHER_INSIDE):
        return "other"
    if word in PHONE_WORDS or (any(part in word for part in PHONE_INSIDE) and not word.startswith(_NOT_A_TELEPHONE)):
        return "phone"
    if word in PERHAPS_WORDS or word.startswith(PERHAPS_FRONT) or (before, word) in _PAIRS:
        return "perhaps"
    return ""


_LABEL = r"(?:phone|telefon|tel|mobile?|fax)\.? ?[1-9][:.)] ?"
_LABELLED = re.compile(rf"(?i:{_LABEL})\Z")
_BRIDGE = re.compile(r"(?:[ _.]?[1-9])?(?:[^0-9\n.;!?|]|(?<=n[or])\.|\.(?! ))*|[^0-9\n]{0,8}\n\s{0,4}")
_NEXT_CELL = re.compile(r"[ \"']{0,2}[|;,/][ \"'(]{0,3}|</?[^<>]{0,12}>(?:</?[^<>]{0,12}>)*")
_NEXT_FIELD = re.compile(r"\"?[,;]\s*\"[^:]*$|\"\s*,|[;|]")


def _reaches(gap: str, is_short: bool) -> bool:
    """Whether a word still speaks of what comes `gap` later: in its sentence, or on the next line if its line ends."""
    if is_short:
        gap = gap.removeprefix(".")  # of an abbreviation: "Tel. private 030 ..."
    return bool(_NEXT_CELL.fullmatch(gap)) or (bool(_BRIDGE.fullmatch(gap)) and not _NEXT_FIELD.search(gap))


# The prefilter. What separates digits may be escaped as JSON does it, hence the backslash.
_S = rf"[ .()/\\{BEYOND}-]"
_SCRIPTS = "\u0370-\u1fff\u2600-\u27bf\u3040-\ud7ff\U0001f4de-\U0001f4f2"  # of the words that are all beyond ASCII
_STEMS = (
    rf"phon|fon|tel|t[{BEYOND}]l|mob|m[o{BEYOND}]vil|cel|handy|ruf|hats|wa\.me|gsm|sms|fax|call|ring|dial"
    r"|text |reach|bel|portable|hotl|onta[ck]t|contatt|erreich|appel|llam|chiam"
)
SIGNS = "|".join(
    (
        rf"(?:[+＋]|%2[bB]){_S}*[0-9](?:{_S}*[0-9]){{6}}",
        rf"(?:(?i:{_STEMS})|[{_SCRIPTS}]|(?:^|[^a-zA-Z]|\\[bfnrt])(?i:[tmpfchwo])[:：])"
        rf"[^0-9]*[0-9](?:{_S}*[0-9]){{5}}",
        rf"(?i:{_LABEL})[0-9]{{6}}",
        SHAPES.replace("_S_", _S).replace("_W_", rf"[ )\\{BEYOND}]"),
    )
)
