"""Keys and passwords: named in a config, taken from the environment or from a Prefect Secret block, shown nowhere.

`NAME` is looked up in the environment first, then, where a Prefect server is named (PREFECT_API_URL, or a profile), as
the Secret block `name`, in lower case and with dashes for underscores. What was read is kept in this process alone: to
hide it in whatever is said, and to hand it to child processes through their environment, never through a file.
"""

import os
import re
from urllib.parse import unquote, urlsplit

from tasks.errors import ConfigError

HIDDEN = "***"
SHORTEST = 4  # of a part that is hidden alone: a shorter one would be found in innocent text
ENV_NAME = r"^[A-Za-z_]\w*$"
HOW_TO_NAME = "write the name of an environment variable or of a Prefect Secret block, never the secret itself"
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s\"']*@")
_SECRET_QUERY = re.compile(r"([?&;]\w*(?:password|pwd|token|secret)=)[^&;\s]+", re.IGNORECASE)

_read: dict[str, str] = {}


def find_secret(name: str) -> str | None:
    """The value of the environment variable, or else of the Prefect Secret block; None where there is neither.

    Raises:
        ConfigError: the Prefect server does not answer, or its block holds no text.
    """
    value = os.environ.get(name, "").strip() or _from_prefect(name)
    if value:
        _read[name] = value
    return value or None


def read_secret(name: str, key: str) -> str:
    """What is named under a key of the config.

    Raises:
        ConfigError: it is not to be had; the line names both ways to give it.
    """
    value = find_secret(name)
    if value is None:
        raise ConfigError(f"{key}: {missing(name)}")
    return value


def missing(name: str, form: str = "") -> str:
    """That a secret is not to be had, and both ways to give it; `form` is what one looks like."""
    where = "a Prefect server" if _prefect_server() is None else "the Prefect server"
    return (
        f"the environment variable {name} is not set, and there is no Prefect Secret block {block_name(name)}; export "
        f"{name}{f'={form}' if form else ''}, or save that block on {where} (UI: Blocks, Secret)"
    )


def block_name(name: str) -> str:
    """What a Prefect block is called, whose names have small letters, digits and dashes."""
    return name.lower().replace("_", "-").strip("-")


def hide(text: str) -> str:
    """The text without any secret that this process has read."""
    forms = {form for value in _read.values() for form in _forms(value)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def hide_credentials(text: str) -> str:
    """The text, of whose URLs none names a user or a password."""
    return _SECRET_QUERY.sub(rf"\1{HIDDEN}", _CREDENTIALS.sub(f"{HIDDEN}@", text))


def for_children() -> dict[str, str]:
    """Variables that a child process needs beside this one's own: what came from Prefect, which it may not reach."""
    return {name: value for name, value in _read.items() if name not in os.environ}


def has_password(url: str) -> bool:
    """Whether a URL carries a password: before its host, or in its query."""
    return bool(re.search(r"://[^/?#@]*:[^/?#]+@", url) or _SECRET_QUERY.search(url))


def _forms(value: str) -> set[str]:
    """A secret as it may be quoted; of a URL its password too, which drivers name alone."""
    found = {value}
    if "://" in value:
        raw = re.match(r"[^:]+://[^/?#]*?:([^/?#]+)@", value)
        found |= {raw[1], unquote(raw[1])} if raw else set()
        found |= {part.partition("=")[2] for part in _query(value) if _is_secret(part.partition("=")[0])}
    return {value} | {form for form in found if len(form) >= SHORTEST}


def _query(url: str) -> list[str]:
    try:
        return urlsplit(url).query.split("&")
    except ValueError:
        return []


def _is_secret(key: str) -> bool:
    return bool(re.search(r"pass|pwd|secret|token|key", key, re.IGNORECASE))


def _prefect_server() -> str | None:
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    return str(url) if url else None


def _from_prefect(name: str) -> str | None:
    """The text of the Secret block, None where there is no such block or no server is named.

    Without a server Prefect would start one of its own, which takes seconds and knows nothing.
    """
    server = _prefect_server()
    if server is None:
        return None
    from prefect.blocks.system import Secret

    block = block_name(name)
    try:
        loaded: Secret[str] = Secret.load(block, _sync=True)  # type: ignore[call-arg, assignment]
    except ValueError as error:
        if "Unable to find block document" not in str(error):
            raise ConfigError(f"the Prefect Secret block {block} cannot be read; save it anew, as text") from None
        return None
    except Exception as error:  # noqa: BLE001 - whatever the server or its client raises, it was not to be had
        raise ConfigError(
            f"the environment variable {name} is not set, and the Prefect server at {hide_credentials(server)} cannot "
            f"be asked for its Secret block {block} ({type(error).__name__}); start it, or export {name}"
        ) from None
    value = loaded.get()
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"the Prefect Secret block {block} holds no text; save it anew, as text")
    return value.strip()
