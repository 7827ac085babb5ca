"""Make the environment hold exactly the pins: `python requirements/install.py cpu|gpu`, run by `make env`.

pip and uv keep their settings apart. Where a machine tells pip about an index, a mirror or a folder of
wheels, uv is told the same; whatever a `UV_*` variable already says wins. The CPU build of torch comes from
there when it is there, and from PyTorch's own index, which uv knows by name, when it is not.

Everything is compiled to bytecode at once: where Python may not write it later (PYTHONDONTWRITEBYTECODE, a read-only
environment), every process would compile torch, transformers and vLLM again, for 10 s each.

Standard library only: it runs before anything is installed.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# pip's option, uv's variables (the first is set, any of them being set already means: leave it), what joins
# several values there.
PASSED_ON = (
    ("index-url", ("UV_DEFAULT_INDEX", "UV_INDEX_URL"), " "),
    ("extra-index-url", ("UV_EXTRA_INDEX_URL", "UV_INDEX"), " "),
    ("find-links", ("UV_FIND_LINKS",), ","),
    ("trusted-host", ("UV_INSECURE_HOST",), " "),
    ("no-index", ("UV_NO_INDEX",), " "),
    ("cert", ("SSL_CERT_FILE",), " "),
)


def pip_settings(listing: str) -> dict[str, str]:
    """Effective values from what `pip config list` prints: the environment over `install` over `global`."""
    found: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in ("global", "install", ":env:") and value:
            found.setdefault(section, {})[option] = str(ast.literal_eval(value))
    return found.get("global", {}) | found.get("install", {}) | found.get(":env:", {})


def uv_environment(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The environment for uv: the user's own, and pip's settings where the user's says nothing."""
    env = dict(environ)
    for option, names, joiner in PASSED_ON:
        if option in settings and not any(name in environ for name in names):
            env[names[0]] = joiner.join(settings[option].split())
    # pip gives every index the same rank; uv stops at the first that knows the name unless told otherwise.
    if "extra-index-url" in settings:
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return env


def pinned(requirements: Path, name: str) -> str:
    """The line of a requirements file that pins `name`."""
    for line in requirements.read_text().splitlines():
        if line.startswith(f"{name}=="):
            return line
    raise SystemExit(f"{requirements} does not pin {name}")


def uv_pip(*args: str, env: Mapping[str, str], quiet: bool = False) -> int:
    """Run `uv pip` on this very environment, `quiet` even about what goes wrong; returns its exit code."""
    command = [sys.executable, "-m", "uv", "pip", args[0], "--python", sys.executable, *args[1:]]
    return subprocess.run(command, env=dict(env), cwd=ROOT, capture_output=quiet).returncode


def install_torch(requirements: Path, env: Mapping[str, str]) -> int:
    """Take the CPU build of torch from PyTorch's own index when no configured place has it; an exit code.

    Alone, because that index would be asked for triton too, and for nothing else that is pinned.
    """
    pin = pinned(requirements, "torch")
    if uv_pip("install", "--dry-run", "--no-deps", pin, env=env, quiet=True) == 0:
        return 0
    return uv_pip("install", "--no-deps", "--torch-backend", "cpu", pin, env=env)


def main(kind: str) -> int:
    """Install the pins of `kind`, then the project itself, editable; returns an exit code."""
    requirements = ROOT / "requirements" / f"{kind}.txt"
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    env = uv_environment(os.environ, pip_settings(listing))
    count = sum("==" in line and not line.startswith("#") for line in requirements.read_text().splitlines())
    print(f"Installing the {count} packages of requirements/{kind}.txt ...", flush=True)
    project = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    return (
        (install_torch(requirements, env) if kind == "cpu" else 0)
        or uv_pip("sync", "--quiet", "--compile-bytecode", str(requirements), env=env)
        or uv_pip(*project, env=env)
    )


if __name__ == "__main__":
    if sys.argv[1:] not in (["cpu"], ["gpu"]):
        raise SystemExit("usage: python requirements/install.py cpu|gpu")
    sys.exit(main(sys.argv[1]))
