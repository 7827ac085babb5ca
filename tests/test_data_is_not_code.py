"""Nothing of ours reads a pickle, and models are loaded in one place; each test names the files that break it."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_import_rule import ROOT, imported, parse, relative, sources

OURS = [path for folder in ("flows", "tasks", "deployments") for path in sources(folder)]
# Modules that read pickles, whatever is asked of them.
UNPICKLERS = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Functions of libraries that may read pickles or run what they find.
FORBIDDEN = {"torch.load", "np.load", "numpy.load", "eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
LOADERS = {"load_model", "load_pyfunc", "read_pickle", "unsafe_load", "torch_load"}
MODEL_CLASSES = ("AutoModel", "AutoTokenizer", "AutoConfig", "PeftModel", "AutoPeft")
HOME = "tasks/base_models.py"


def calls(tree: ast.AST) -> set[str]:
    """Dotted names of everything that a module calls."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def reads_pickles(tree: ast.AST) -> set[str]:
    modules = {name for name in imported(tree) if name.split(".")[0] in UNPICKLERS}
    return modules | {name for name in calls(tree) if name in FORBIDDEN or name.rpartition(".")[2] in LOADERS}


def loads_models(tree: ast.AST) -> set[str]:
    return {
        name for name in calls(tree) if name.rpartition(".")[2] == "from_pretrained" and name.startswith(MODEL_CLASSES)
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import pickle", {"pickle"}),
        ("from joblib import load", {"joblib.load"}),
        ("torch.load(x)", {"torch.load"}),
        ("mlflow.pyfunc.load_model(x)", {"mlflow.pyfunc.load_model"}),
        ("yaml.safe_load(x); json.load(y)", set()),
    ],
)
def test_pickles_are_seen(code: str, expected: set[str]) -> None:
    assert reads_pickles(ast.parse(code)) == expected


def test_nothing_of_ours_reads_pickles_or_runs_data() -> None:
    assert {relative(path): found for path in OURS if (found := reads_pickles(parse(path)))} == {}


def test_models_are_loaded_in_one_place() -> None:
    found = {relative(path): names for path in OURS if (names := loads_models(parse(path)))}
    assert found.keys() == {HOME}


def test_models_are_loaded_from_safetensors_with_their_code_off_by_default() -> None:
    home = next(path for path in OURS if relative(path) == HOME)
    loads = [
        {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for node in ast.walk(parse(home))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("AutoModel", "AutoTokenizer"))
    ]
    assert [options["trust_remote_code"] for options in loads] == ["trusts_code"] * 2
    assert [options.get("use_safetensors") for options in loads] == [None, "True"]


def test_an_engine_reads_safetensors_alone() -> None:
    engine = parse(next(path for path in OURS if relative(path) == "tasks/engine.py"))
    (made,) = [node for node in ast.walk(engine) if isinstance(node, ast.Call) and ast.unparse(node.func) == "LLM"]
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in made.keywords}
    assert options["load_format"] == "'safetensors'"
    assert options["trust_remote_code"] == "trusts_code"


def test_what_the_trainer_reads_of_a_checkpoint_runs_no_code() -> None:
    """Optimizer, schedule and random state of a checkpoint are read by torch, told that they are weights alone."""
    spec = find_spec("transformers.trainer")
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    loads = [
        {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert loads
    assert {options.get("weights_only") for options in loads} == {"True"}


def test_the_rules_look_at_something() -> None:
    assert len(OURS) > 50 and ROOT.is_dir()
