"""From a source's settings to the source itself, and to the mapping of its rows."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.sources.base import Source
from tasks.sources.files import FilesSource
from tasks.sources.first_look import FirstLook
from tasks.sources.mapping import compile_mapping
from tasks.sources.settings import FilesSourceConfig, MlflowSourceConfig, SourceConfig, SqlSourceConfig

if TYPE_CHECKING:
    from tasks.config import Config


def make_source(source: SourceConfig, config: "Config") -> Source:
    """The source that the settings describe; heavy libraries are imported for the kind that needs them.

    Its first pull raises SourceError where no row fits the settings, see `FirstLook`.
    """
    return FirstLook(_make_bare_source(source, config), make_mapping(source))


def _make_bare_source(source: SourceConfig, config: "Config") -> Source:
    if isinstance(source, FilesSourceConfig):
        return FilesSource(source)
    if isinstance(source, SqlSourceConfig):
        from tasks.sources.sql import SqlSource

        return SqlSource(source)
    from tasks.sources.mlflow_traces import MlflowSource

    return MlflowSource(source, source.tracking_uri or config.tracking_uri)


def make_mapping(source: SourceConfig) -> Callable[[str], list[str]] | None:
    """From a raw row to the records that it holds; None where the rows are records already."""
    if isinstance(source, MlflowSourceConfig):
        from tasks.sources.mlflow_traces import compile_traces

        return compile_traces(source)
    return compile_mapping(source.records) if source.records else None
