"""The two ways in which a command can end badly. Imports nothing."""


class UsageError(ValueError):
    """What the user asked for or handed in is wrong: one line, exit code 2.

    The message names the value, what would be valid, and the way out.
    """


class Failure(RuntimeError):
    """The request was right but could not be carried out: one line, exit code 1."""
