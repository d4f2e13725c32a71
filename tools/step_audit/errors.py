"""What can go wrong for a user, each with the exit code of the command."""


class StepAuditError(Exception):
    """An error that a user can meet: what happened, what it means and what to do."""

    exit_code = 3


class UsageError(StepAuditError):
    """The command was called with something that it cannot take."""

    exit_code = 2


class RefusedError(StepAuditError):
    """The database is not in a state in which this can be done; nothing was changed."""


class NotInstalledError(RefusedError):
    """The schema has no step-audit."""

    def __init__(self, schema: str) -> None:
        super().__init__(
            f"step-audit is not installed in schema {schema}. "
            f"Install it with 'step-audit install', or name another schema with --schema."
        )


class CannotConnectError(StepAuditError):
    """The database cannot be reached."""


def describe(error: Exception) -> str:
    """One line about an error: what happened, and what to do where that is known."""
    if isinstance(error, StepAuditError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror}."
    import psycopg  # noqa: PLC0415 (not worth its start-up time where nothing fails)

    if isinstance(error, psycopg.Error):
        primary = error.diag.message_primary or " ".join(str(error).split())
        hint = error.diag.message_hint
        return f"the database says: {primary}." + (f" {hint}" if hint else "")
    return f"unexpected {type(error).__name__}: {error}. --verbose shows where; please report it."
