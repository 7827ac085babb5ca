"""What the house asks of imports, as far as ruff cannot say it; each test names the files that break it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Flows that call other flows, and the command line, which calls them all.
PARENTS = {"flows/run_round.py", "flows/run_demo.py", "flows/commands/running.py"}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> set[str]:
    """Dotted names that a module imports anywhere, ``from a import b`` as ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_flow(node: ast.AST) -> bool:
    """Whether a function carries Prefect's ``@flow`` or ``@flow(...)``."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    targets = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(isinstance(t, ast.Name) and t.id == "flow" for t in targets)


def flow_names() -> dict[str, str]:
    """``flows.module.function`` of every flow, with its file."""
    return {
        f"flows.{path.stem}.{node.name}": relative(path)
        for path in sources("flows")
        for node in parse(path).body
        if is_flow(node)
    }


def reads_sql(tree: ast.AST) -> bool:
    """Whether a module asks for `sql/`: ``resource("sql", ...)``, or names a file that ends in `.sql`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("resource") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and str(first.value).startswith("sql"):
                return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".sql"):
            return True
    return False


def test_tasks_import_neither_flows_nor_deployments() -> None:
    wrong = {
        relative(path): found
        for path in sources("tasks")
        if (found := {n for n in imported(parse(path)) if n.split(".")[0] in {"flows", "deployments"}})
    }
    assert not wrong


def test_flows_do_not_import_deployments() -> None:
    assert not [relative(p) for p in sources("flows") if any(n.startswith("deployments") for n in imported(parse(p)))]


def test_only_parents_import_other_flows() -> None:
    flows = flow_names()
    wrong = {
        relative(path): found
        for path in sources("flows")
        if relative(path) not in PARENTS and (found := imported(parse(path)) & flows.keys())
    }
    assert not wrong


def test_only_db_reads_sql() -> None:
    readers = [relative(p) for p in [*sources("tasks"), *sources("flows")] if reads_sql(parse(p))]
    assert set(readers) <= {"tasks/db.py"}


def test_flow_files_do_not_shadow_libraries() -> None:
    """A path-style entrypoint puts flows/ first on sys.path, where such a name would hide the library."""
    import sys
    from importlib.metadata import packages_distributions

    taken = sys.stdlib_module_names | packages_distributions().keys()
    assert not [p.stem for p in sources("flows") if p.stem != "__init__" and p.stem in taken]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('resource("sql", "queries")', True),
        ('Path("sql") / "x.sql"', True),
        ('resource("configs", "tickets.yaml")', False),
    ],
)
def test_reads_sql_sees_what_it_should(code: str, expected: bool) -> None:
    assert reads_sql(ast.parse(code)) is expected
