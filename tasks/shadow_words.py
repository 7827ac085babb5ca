"""What the shadow of a round found, in sentences: for the report, the verdict and the terminal."""

from tasks.headlines import Evidence, count, dig, number, percent, plain, records

SHOWN_CLASSES = 5


def shadow_lines(evidence: Evidence) -> list[str]:
    """How many of the latest calls' answers differ, and in which classes; nothing where no shadow was asked for."""
    compared = number(evidence, "shadow", "compared")
    if compared is None:
        return []
    names = f"{plain(dig(evidence, 'champion', 'label'))} and {_challenger(evidence)}"
    if not compared:
        return [f"No call was left for {names} to answer"]
    differ = number(evidence, "shadow", "differ") or 0
    lines = [f"{names} differ on {count(differ)} of production's latest {count(compared)} inputs ({_share(evidence)})"]
    lines += [_class(row) for row in records(evidence, "shadow", "classes")[:SHOWN_CLASSES]]
    if too_long := number(evidence, "shadow", "too_long"):
        lines.append(f"{count(too_long)} inputs were too long for an answer and left out")
    return lines


def _challenger(evidence: Evidence) -> str:
    return plain(dig(evidence, "challenger", "label") or f"round {dig(evidence, 'round')}")


def _share(evidence: Evidence) -> str:
    differ, compared = (number(evidence, "shadow", key) or 0 for key in ("differ", "compared"))
    return percent(differ / compared)


def _class(row: Evidence) -> str:
    answers = count(number(row, "answers"))
    if row.get("cluster_id") is None:
        return f"{answers} of them like no known class of failures"
    return f"{answers} of them like the failures of {plain(row['cluster_id'])} ({plain(row.get('label'), 80)})"
