"""Install, attach, detach, uninstall: each a short transaction under an advisory lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from step_audit.database import Connection, call, looking_up, transaction
from step_audit.errors import NotInstalledError, RefusedError, UsageError
from step_audit.patience import look_again
from step_audit.setup import script
from step_audit.setup.machinery import find_altered_functions
from step_audit.setup.repair import Repairs, check_tables, find_repairs
from step_audit.setup.script import Target
from step_audit.setup.sources import SourceFile, Sources, load_sources, release_key

# Audit rows that a note names.
_NAMED = 10


@dataclass(frozen=True)
class Installed:
    """What a schema has: its release, and the SHA-256 of each applied file by path."""

    release: str | None = None
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attached:
    """What an install or attach did.

    Attributes:
        schema: where step-audit stands.
        changed: whether anything was; not where all was there already.
        notes: what is not kept, or worth to know, each a sentence or two.
    """

    schema: str
    changed: bool
    notes: tuple[str, ...]


def install(conn: Connection, sources: Sources, target: Target | None = None) -> Attached:
    """Apply the files that the database lacks, and attach to the engine's tables.

    Raises:
        RefusedError: the engine is not found or cannot be audited, an extension or another program
            owns the objects, the database is newer than this code, a right is missing, or a lock
            was not to be had in time. Nothing was changed.
    """
    target = target or Target()
    repairs = _find_repairs(conn, sources, target)
    with _transaction(conn, target.lock_timeout):
        schema, kept = _apply(conn, sources, target, repairs)
        changed = _has_written(conn)
    _repair_indexes(conn, schema, target.lock_timeout, repairs)
    notes = _notes(conn, schema, target.lock_timeout, kept)
    return Attached(schema, changed or bool(repairs), (*repairs.notes, *notes))


def render_pending(conn: Connection, sources: Sources, target: Target) -> str:
    """The script of what :func:`install` would run; nothing is changed.

    Raises:
        RefusedError: as :func:`install`, as far as can be told without running it.
    """
    with _transaction(conn, target.lock_timeout, force_rollback=True):
        schema = _enter(conn, sources, target)
        files = pending_files(sources, read_installed(conn, schema))
    return script.pending_script(sources, files, target)


def attach(conn: Connection, schema: str, target: Target) -> Attached:
    """Attach what is installed in ``schema`` to the engine's tables, and repair it.

    Raises:
        RefusedError: as :func:`install`.
    """
    target = replace(target, schema=schema)
    repairs = _find_repairs(conn, load_sources(), target)
    with _transaction(conn, target.lock_timeout):
        _enter(conn, load_sources(), target)
        _repair_tables(conn, repairs)
        call(
            conn,
            schema,
            "attach_step_result_audit",
            p_engine_schema=target.engine_schema,
            p_enforce_keys=target.enforce_keys,
        )
        changed = _has_written(conn)
    _repair_indexes(conn, schema, target.lock_timeout, repairs)
    notes = _notes(conn, schema, target.lock_timeout, kept=False)
    return Attached(schema, changed or bool(repairs), (*repairs.notes, *notes))


def detach(conn: Connection, schema: str, lock_timeout: str) -> None:
    """Take trigger, keys and views off the engine's tables; audit rows and functions stay.

    Raises:
        RefusedError: a right is missing, or a lock was not to be had in time. Nothing was changed.
    """
    with _transaction(conn, lock_timeout):
        _lock(conn, schema, lock_timeout)
        call(conn, schema, "detach_step_result_audit")


def uninstall(conn: Connection, schema: str, drop_data: bool, lock_timeout: str) -> None:
    """Remove trigger and functions, and with ``drop_data`` the audit rows.

    Raises:
        RefusedError: nothing is installed, an extension owns it, a right is missing, or a lock was
            not to be had within ``lock_timeout``. Nothing was changed.
    """
    with _transaction(conn, lock_timeout):
        _lock(conn, schema, lock_timeout)
        installed = read_installed(conn, schema)
        if not any(path.startswith("functions/") for path in installed.digests):
            raise NotInstalledError(schema)
        call(conn, schema, "uninstall_step_result_audit", p_drop_data=drop_data)


def _apply(
    conn: Connection, sources: Sources, target: Target, repairs: Repairs
) -> tuple[str, bool]:
    """Apply what is pending, and attach; gives the schema, and whether it held rows of before."""
    schema = _enter(conn, sources, target)
    installed = read_installed(conn, schema)
    files = pending_files(sources, installed)
    _repair_tables(conn, repairs)
    for file in files:
        conn.execute(file.text.encode())
    if files or installed.release != sources.release:
        conn.execute(script.record(sources).encode())
    conn.execute(script.attach(target).encode())
    is_reinstall = bool(installed.digests) and not any(
        path.startswith("functions/") for path in installed.digests
    )
    return schema, is_reinstall


def _find_repairs(conn: Connection, sources: Sources, target: Target) -> Repairs:
    def look() -> Repairs:
        with _transaction(conn, target.lock_timeout, force_rollback=True):
            schema = _enter(conn, sources, target)
            files = _read_files(conn, schema)
            if any(release_key(file["release"]) > release_key(sources.release) for file in files):
                return Repairs()
            digests = {file["path"]: file["sha256"] for file in files}
            applied = [file for file in sources.migrations if file.path in digests]
            if not applied or any(digests[file.path] != file.sha256 for file in applied):
                return Repairs()
            check_tables(conn, schema, applied)
            return find_repairs(conn, schema, applied)

    return look_again(look)


def _repair_tables(conn: Connection, repairs: Repairs) -> None:
    """Mend what is not as this release has it; the schema has been entered."""
    _forget(conn, repairs)
    for statement in repairs.statements:
        conn.execute(statement)


def _repair_indexes(conn: Connection, schema: str, lock_timeout: str, repairs: Repairs) -> None:
    """Make indexes anew, each in a statement of its own, so that writers go on meanwhile."""
    if not repairs.indexes:
        return
    for statement in repairs.indexes:
        conn.execute(statement)
    with _transaction(conn, lock_timeout, as_owner_of=schema):
        conn.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
        _forget(conn, repairs)
        call(conn, schema, "record_step_audit_objects")


def _forget(conn: Connection, repairs: Repairs) -> None:
    """Have the ledger describe anew what is mended."""
    if repairs:
        conn.execute(
            "DELETE FROM step_audit_objects WHERE object_name = ANY(%s)", ([*repairs.objects],)
        )


def _enter(conn: Connection, sources: Sources, target: Target) -> str:
    try:
        conn.execute(script.enter(sources, target).encode())
    except psycopg.errors.InvalidParameterValue as error:
        raise _no_timeout(target.lock_timeout) from error
    (here,) = conn.execute("SELECT pg_catalog.current_schema() AS name").fetchall()
    schema: str = here["name"]
    return schema


def _has_written(conn: Connection) -> bool:
    # A transaction that has written something has an id.
    (row,) = conn.execute(
        "SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL AS anything"
    ).fetchall()
    return bool(row["anything"])


def _notes(conn: Connection, schema: str, lock_timeout: str, kept: bool) -> tuple[str, ...]:
    """What to tell: of the engine, of keys, and of rows that an earlier install has kept."""
    with _transaction(conn, lock_timeout, as_owner_of=schema):
        notes = _validate_keys(conn, schema, lock_timeout)
    with _transaction(conn, lock_timeout, as_owner_of=schema):
        orphans = _name_orphans(conn, schema) if kept else []
        return (*_host_notes(conn, schema), *notes, *orphans)


def _validate_keys(conn: Connection, schema: str, lock_timeout: str) -> list[str]:
    _lock(conn, schema, lock_timeout)
    return [
        f"key {row['key_name']} holds for new rows only, as a kept audit row violates it: "
        f"{row['fault']}"
        for row in call(conn, schema, "validate_step_audit_keys")
    ]


def _host_notes(conn: Connection, schema: str) -> list[str]:
    (engine,) = call(conn, schema, "find_workflow_engine")
    problems = call(
        conn,
        schema,
        "list_host_problems",
        p_schema=engine["schema_name"],
        p_prefix=engine["table_prefix"],
    )
    left = call(conn, schema, "list_step_audit_problems")
    return [
        *(f"{row['problem']}. {row['remedy']}" for row in problems),
        *(row["problem"] for row in left),
    ]


def _name_orphans(conn: Connection, schema: str) -> list[str]:
    rows = call(conn, schema, "list_orphaned_audits", p_limit=_NAMED + 1)
    if not rows:
        return []
    named = ", ".join(str(row["list_orphaned_audits"]) for row in rows[:_NAMED])
    return [
        "the engine has deleted the transitions of kept audit rows, which stay: "
        f"{named}{', and more' if len(rows) > _NAMED else ''}"
    ]


def read_installed(conn: Connection, schema: str) -> Installed:
    """Look up what ``schema`` has.

    Raises:
        RefusedError: the objects there are an extension's.
    """
    with looking_up(conn):
        return _read_installed(conn, schema)


def _read_installed(conn: Connection, schema: str) -> Installed:
    found = conn.execute(_FIND_OBJECTS, {"schema": schema}).fetchone() or {}
    if found["extension"]:
        raise RefusedError(
            f"in schema {schema} step-audit is the extension {found['extension']}; nothing was "
            f"changed. Use ALTER EXTENSION {found['extension']} UPDATE, or 'step-audit detach' and "
            "DROP EXTENSION."
        )
    files = _read_files(conn, schema)
    if not files:
        return Installed()
    digests = {file["path"]: file["sha256"] for file in files}
    # Functions pinned to another schema were moved here by a rename: they count as changed, as do
    # those that somebody changed.
    sources = load_sources()
    changed = (
        {file.path for file in sources.functions}
        if found["moved"]
        else find_altered_functions(conn, schema, sources)
    )
    return Installed(
        files[0]["release"],
        {path: sha256 for path, sha256 in digests.items() if path not in changed},
    )


def _read_files(conn: Connection, schema: str) -> list[DictRow]:
    (found,) = conn.execute(_HAS_FILES, (schema,)).fetchall()
    if not found["has_files"]:
        return []
    return conn.execute(
        sql.SQL("SELECT path, sha256, release FROM {}").format(
            sql.Identifier(schema, "step_audit_files")
        )
    ).fetchall()


def pending_files(sources: Sources, installed: Installed) -> tuple[SourceFile, ...]:
    """Which files are still to be applied: changed functions and new migrations, in order.

    Raises:
        RefusedError: the database is newer than ``sources``, or a migration was changed after it
            had been applied.
    """
    if installed.release and release_key(installed.release) > release_key(sources.release):
        raise RefusedError(
            f"the database has step-audit {installed.release}, this command is {sources.release}; "
            "nothing was changed. Upgrade the command: pip install --upgrade step-audit."
        )
    for migration in sources.migrations:
        if installed.digests.get(migration.path, migration.sha256) != migration.sha256:
            raise RefusedError(
                f"{migration.path} was applied in another form than this release has; nothing was "
                "changed. Install a released step-audit, whose migrations never change."
            )
    return tuple(file for file in sources.files if installed.digests.get(file.path) != file.sha256)


_HAS_FILES = """
SELECT
    pg_catalog.to_regclass(pg_catalog.format('%%I.step_audit_files', %s::pg_catalog.text))
        IS NOT NULL AS has_files
"""

_FIND_OBJECTS = """
SELECT
    (
        SELECT e.extname
        FROM pg_depend AS d
        JOIN pg_extension AS e ON d.refobjid = e.oid
        WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
            AND d.objid = to_regclass(format('%%I.step_audit_files', %(schema)s::text))
    ) AS extension,
    EXISTS (
        SELECT FROM pg_proc AS p
        WHERE p.pronamespace = to_regnamespace(quote_ident(%(schema)s))
            AND p.proname = 'create_step_result_audit'
            AND p.proconfig <> ARRAY[format('search_path=%%I, pg_temp', %(schema)s)]
    ) AS moved
"""


@contextmanager
def _transaction(
    conn: Connection,
    lock_timeout: str,
    force_rollback: bool = False,
    as_owner_of: str | None = None,
) -> Iterator[None]:
    try:
        with transaction(conn, force_rollback, as_owner_of, writes=True):
            yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise RefusedError(
            f"a lock was not to be had within {lock_timeout}, because of a long transaction "
            "or another install; nothing was changed. Try again, or wait longer with "
            "--lock-timeout."
        ) from error
    except (psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject) as error:
        raise RefusedError(
            f"{error.diag.message_primary}, and is not step-audit's; nothing was changed. "
            "Install beside it, into a schema of step-audit's own: --schema step_audit."
        ) from error
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ObjectNotInPrerequisiteState,
    ) as error:
        hint = error.diag.message_hint or "Connect as the owner of the engine's tables."
        raise RefusedError(f"{error.diag.message_primary}; nothing was changed. {hint}") from error


def _lock(conn: Connection, schema: str, lock_timeout: str) -> None:
    """Wait for other installs, and for locks no longer than given, until the transaction ends."""
    try:
        conn.execute("SELECT set_config('lock_timeout', %s, true)", (lock_timeout,))
    except psycopg.errors.InvalidParameterValue as error:
        raise _no_timeout(lock_timeout) from error
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('step_audit ' || %s, 0))", (schema,)
    )


def _no_timeout(lock_timeout: str) -> UsageError:
    return UsageError(
        f"'{lock_timeout}' is no lock timeout. Give a number with a unit, like 5s or 500ms."
    )
