"""Errors that a user reads: what was wrong, where, and what to do next, in one line."""


class FlywheelError(Exception):
    """A problem the user can act on. The command line prints its one line and exits with 1."""


class ConfigError(FlywheelError):
    """A config file that cannot be used as it is."""


class SourceError(FlywheelError):
    """A source that cannot be read, or a record in it that cannot be taken."""


class StateError(FlywheelError):
    """The database of a workload is not what this version of the code can work with."""


class DiskFullError(FlywheelError):
    """There is no room for what has to be written."""


class LeaseLostError(FlywheelError):
    """Another runner has taken the round over; whatever this one still holds must not be written."""


class ChildError(FlywheelError):
    """A child process (training, regression, registration) ended without a result."""
