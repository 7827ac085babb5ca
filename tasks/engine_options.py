"""Options of the engine that answers the regression suite (`engine` in a config)."""

from tasks.sources.settings import Model


class EngineConfig(Model):
    """How champion and challenger are asked."""
