"""What can go wrong for a user, each with the exit code of the command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID


class StepAuditError(Exception):
    """An error that a user can meet: what happened, what it means and what to do."""

    exit_code = 3


class UsageError(StepAuditError):
    """The command was called with something that it cannot take."""

    exit_code = 2


class RefusedError(StepAuditError):
    """The database is not in a state in which this can be done; nothing was changed."""


class NotInstalledError(RefusedError):
    """The schema, or where none is named the database, has no step-audit."""

    def __init__(self, schema: str | None = None, *, database: str | None = None) -> None:
        super().__init__(
            f"step-audit is not installed in schema {schema}. "
            "Install it with 'step-audit install', or name another schema with --schema."
            if schema
            else f"step-audit is not installed in database {database}: no schema that this role "
            "may use has it. Install it with 'step-audit install'."
        )


class SeveralInstalledError(RefusedError):
    """More than one schema of the database has step-audit, and none was named."""

    def __init__(self, schemas: Sequence[str], database: str) -> None:
        super().__init__(
            f"database {database} has step-audit in several schemas: {', '.join(schemas)}. "
            "Name one with --schema, in Python with schema=."
        )


class DetachedError(RefusedError):
    """step-audit is installed, but not attached to the engine's tables."""

    def __init__(self, schema: str) -> None:
        super().__init__(
            f"step-audit in schema {schema} is detached from the engine's tables. "
            "Attach it: 'step-audit attach'."
        )


class CannotConnectError(StepAuditError):
    """The database cannot be reached."""


class TrustError(StepAuditError):
    """A key, checkpoint or proof of the sealed log cannot be read: nothing was done with it."""


class NotProvedError(TrustError):
    """A checkpoint or proof can be read, and is false."""

    exit_code = 1


class UnknownSubjectError(StepAuditError):
    """Nothing is known of the step or the task that was asked for."""

    exit_code = 4

    def __init__(self, step: UUID | None, task: UUID | None) -> None:
        name = f"step {step}" if step else f"task {task}"
        of_task = f" of task {task}" if step and task else ""
        super().__init__(
            f"{name}{of_task} is not known, neither to the engine nor to the audit. Is it the "
            "right database and the right uuid? What was purged is not known any more."
        )


class StepError(StepAuditError):
    """A step cannot be moved; nothing was written."""


class StepNotFoundError(StepError):
    """The engine knows no such step."""

    def __init__(self, step_uuid: UUID) -> None:
        super().__init__(f"step {step_uuid} does not exist; nothing was written.")
        self.step_uuid = step_uuid


class ForbiddenTransitionError(StepError):
    """The event leads nowhere from the state that the step is in."""

    def __init__(self, step_uuid: UUID, state: str, event: str) -> None:
        super().__init__(
            f"step {step_uuid} is {state}, from where {event} is forbidden; nothing was written."
        )
        self.step_uuid, self.state, self.event = step_uuid, state, event


class LostRaceError(StepError):
    """Another transaction moved the step at the same time; read it again and decide anew."""

    def __init__(self, step_uuid: UUID, state: str, event: str) -> None:
        super().__init__(
            f"step {step_uuid} was moved by another transaction, as {event} found it {state}; "
            "nothing was written. Read the step again, in a new transaction."
        )
        self.step_uuid, self.state, self.event = step_uuid, state, event


class InvalidResultError(StepError):
    """A worker's result is not one, or cannot be written as JSON."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What fails here failed at this file: a full disk names none by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def describe(error: Exception) -> str:
    """One line about an error: what happened, and what to do where that is known."""
    if isinstance(error, StepAuditError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        text = error.object.encode(errors="backslashreplace").decode()
        return f"the text '{text[:200]}' is not UTF-8, and nothing can be done with it."
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror}."
    import psycopg  # noqa: PLC0415 (not worth its start-up time where nothing fails)

    if isinstance(error, psycopg.Error):
        primary = error.diag.message_primary or " ".join(str(error).split())
        hint = error.diag.message_hint
        # Of class 25006 or 0A000, by what was tried.
        if "recovery" in primary and error.sqlstate in {"25006", "0A000"}:
            return (
                "this server is a standby (pg_is_in_recovery), on which nothing can be written; "
                "nothing was changed. Run it on the primary."
            )
        if isinstance(error, psycopg.errors.InsufficientPrivilege) and not hint:
            hint = "Its owner gives a role what it needs: step-audit grant ROLE --as ..."
        return f"the database says: {primary}." + (f" {hint}" if hint else "")
    return f"unexpected {type(error).__name__}: {error}. --verbose shows where; please report it."
