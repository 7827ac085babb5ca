"""Options of the regression suite (`suite` in a config)."""

from tasks.sources.settings import Model


class SuiteConfig(Model):
    """Which cases the suite holds."""
