"""What a source may be told: a mistake is refused in one line that names it; the examples are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from tasks import records
from tasks.sources.settings import KEYS, OPTIONAL, FilesSourceConfig, SourceConfig, SqlSourceConfig, parse_path
from tests.conftest import ROOT

SOURCE: TypeAdapter[Any] = TypeAdapter(SourceConfig)
EXAMPLES = sorted((ROOT / "configs" / "sources").glob("*.yaml"))
THUMB = {
    "record": "thumb",
    "inference_id": "$.id",
    "value": "$.up",
    "producer": "person:{$.who}",
    "created_at": "$.at",
}
SQL = {"type": "sql", "name": "chats", "url": "postgresql://u@h/d", "query": "select * from t", "cursor": "id"}


def refusal(source: dict[str, Any]) -> str:
    """The one line that a source's settings are refused with."""
    with pytest.raises(ValidationError) as caught:
        SOURCE.validate_python(source)
    problem = caught.value.errors()[0]
    assert "\n" not in problem["msg"]
    return ".".join(map(str, problem["loc"])) + ": " + problem["msg"]


def files(mapping: Any) -> dict[str, Any]:
    return {"name": "traffic", "path": "x", "records": mapping}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_can_be_pasted_under_sources(example: Path) -> None:
    sources = yaml.safe_load(example.read_text(encoding="utf-8"))
    for source in sources:
        assert SOURCE.validate_python(source).type == source["type"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_settings_are_read_back_as_they_were_written(example: Path) -> None:
    """A round is recorded with its config; what is recorded must mean the same."""
    for source in yaml.safe_load(example.read_text(encoding="utf-8")):
        settings = SOURCE.validate_python(source)
        assert SOURCE.validate_json(settings.model_dump_json()) == settings


def test_the_keys_of_mappings_are_those_of_records() -> None:
    kinds = {get_args(kind.model_fields["record"].annotation)[0]: kind for kind in get_args(records.Record)}
    assert kinds.keys() == KEYS.keys()
    for name, kind in kinds.items():
        assert {"record", *KEYS[name]} == set(kind.model_fields)
        optional = {key for key, field in kind.model_fields.items() if not field.is_required()}
        assert optional == OPTIONAL & {*KEYS[name]}


def test_a_source_without_a_type_is_files() -> None:
    assert isinstance(SOURCE.validate_python({"name": "traffic", "path": "x/*.jsonl"}), FilesSourceConfig)


@pytest.mark.parametrize("given", ["ftp", ["files"], None])
def test_an_unknown_type_is_refused(given: Any) -> None:
    assert "type must be files, sql or mlflow_traces" in refusal({"type": given, "name": "a", "path": "x"})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"record": "applause"}, "records.0.record: Input should be 'inference', 'correction', 'thumb'"),
        ({"colour": "red"}, "a thumb has no key colour; its keys are inference_id, value, producer, created_at"),
        ({"value": "$.a..b"}, "'$.a..b' is no path; write $.key, $.list[0] or $['odd key']"),
        ({"value": "$[x]"}, "'$[x]' is no path"),
        ({"value": "$['a]"}, "is no path"),
        ({"when": "up"}, "'up' is no path"),
        ({"producer": "person:{$.who"}, "'person:{$.who' holds a malformed path"),
        ({"producer": "{$.kind}:{$.who}{$}"}, "holds a malformed path"),
        ({"producer": "maria"}, "producer 'maria' must begin with person:, model: or rule:"),
        ({"created_at": "yesterday"}, "created_at 'yesterday' is no time"),
        ({"created_at": "2026-03-01T12:00:00"}, "created_at '2026-03-01T12:00:00' has no zone"),
        ({"timezone": "Berlin"}, "'Berlin' is no time zone; write one such as Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "is no time zone"),
        ({"inference_id": "i1"}, "inference_id would be 'i1' in every row"),
        ({"value": {1, 2}}, "is neither a path, a text, a number, a list nor a mapping"),
    ],
)
def test_a_wrong_mapping_is_refused_with_what_is_wrong(change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(files([THUMB | change]))


@pytest.mark.parametrize("key", [key for key in THUMB if key != "record"])
def test_a_missing_key_is_named(key: str) -> None:
    mapping = {name: value for name, value in THUMB.items() if name != key}
    assert f"a thumb needs {key}; give" in refusal(files([mapping]))


def test_the_wrong_one_of_several_mappings_is_named() -> None:
    assert refusal(files([THUMB, THUMB | {"value": "$."}])).startswith("files.records.1.value: ")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("openai", "there is no preset 'openai'; there are openai_chat_log, openai_fine_tuning, openai_preference"),
        ({"preset": ["a"]}, "there is no preset ['a']"),
        ("openai_fine_tuning", "rows of openai_fine_tuning do not say producer and created_at; write records: {preset"),
        ({"preset": "openai_chat_log", "colour": 1}, "a inference has no key colour"),
        ([], "records is empty"),
        ("", "there is no preset ''"),
        ([3], "Input should be a valid dictionary"),
    ],
)
def test_a_wrong_preset_is_refused(given: Any, expected: str) -> None:
    assert expected in refusal(files(given))


def test_a_moment_that_yaml_has_read_for_itself_is_a_constant() -> None:
    given = yaml.safe_load("{preset: openai_preference, producer: 'rule:old', created_at: 2026-03-01T00:00:00Z}")
    source = SOURCE.validate_python(files(given))
    assert source.records[0].values["created_at"] == "2026-03-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$.a.b", ("a", "b")),
        ("$.choices[0].message", ("choices", 0, "message")),
        ("$[-1]", (-1,)),
        ("$['odd key'].x", ("odd key", "x")),
        ('$["it\'s"]', ("it's",)),
        (r"$['it\'s']", ("it's",)),
        ("$.größe.x-y.2nd", ("größe", "x-y", "2nd")),
        ("$row", ()),
    ],
)
def test_a_path_is_the_steps_it_names(text: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(text).steps == steps


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"url": None}, "give either url, or url_env"),
        ({"url_env": "DATABASE_URL"}, "give either url, or url_env"),
        ({"url": "postgresql://u:secret@h/d"}, "url holds a password; put it into an environment variable"),
        ({"url": "postgresql://h/d?user=u&password=secret"}, "url holds a password"),
        ({"url": "h/secret"}, "url is no database URL; write DIALECT://USER@HOST/DATABASE"),
        ({"query": ""}, "query: String should have at least 1 character"),
        ({"query": "select * from t where a = :name"}, "only :cursor can be bound, not :name"),
        ({"query": "select * from t where id > :cursor"}, "the query uses :cursor, so start is needed"),
        ({"overlap": -1}, "overlap: "),
        ({"cursor": None}, "cursor: "),
        ({"name": "Chats"}, "name: "),
    ],
)
def test_a_wrong_query_source_is_refused(change: dict[str, Any], expected: str) -> None:
    line = refusal(SQL | change)
    assert expected in line
    assert "secret" not in line


def test_a_cast_or_a_time_of_day_is_no_bound_parameter() -> None:
    query = r"select a::text, '12:30:00' as b, '{\:x}' as c from t;"
    source = SOURCE.validate_python(SQL | {"query": query})
    assert isinstance(source, SqlSourceConfig)
    assert not source.binds_cursor
    assert source.query == query[:-1]
