"""To whom the audit belongs: never more than the owner of the engine's tables, and never less."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.errors import RefusedError
from step_audit.setup import installer
from step_audit.setup.script import Target
from tests.support.command import status_of, step_audit, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import (
    HOST,
    OK,
    Host,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.install import install_audit
from tests.support.inventory import take_inventory
from tests.support.results import count_audit_rows
from tests.support.roles import give_engine_to, login_roles


@pytest.fixture
def engine(host: Connection) -> Iterator[Connection]:
    """The engine's tables belong to keeper; this connection is the superuser's."""
    disable_own_audit(host)
    with login_roles(host, "keeper", "heir", "clerk"):
        give_engine_to(host, "keeper")
        yield host


def owners(conn: Connection) -> set[str]:
    rows = call(conn, HOST.audit_schema, "list_step_audit_owners")
    assert len(rows) > 50
    return {row["owner_name"] for row in rows}


def record(conn: Connection) -> None:
    (step,) = create_steps(conn)
    insert_each(conn, [Transition(step, OK, "{}", 1)])


def problems(conn: Connection) -> list[str]:
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
    assert status["attached"] is (not status["problems"])
    return status["problems"] or []


def test_results_go_on_after_the_installer_has_left_the_owners_role(engine: Connection) -> None:
    engine.execute("GRANT keeper TO clerk")
    engine.execute(f"GRANT CREATE ON DATABASE {engine.info.dbname} TO clerk".encode())
    with connect_again(engine, user="clerk") as clerk:
        install_audit(clerk)
    assert owners(engine) == {"keeper"}
    engine.execute("REVOKE keeper FROM clerk")
    with connect_again(engine, user="keeper") as keeper:
        record(keeper)
    record(engine)
    assert count_audit_rows(engine) == 2
    assert problems(engine) == []


def test_what_a_superuser_installs_is_the_owners(engine: Connection) -> None:
    install_audit(engine)
    assert owners(engine) == {"keeper"}
    assert not install_audit(engine)


def spy_on(engine: Connection, table: str) -> None:
    """The owner lets what reads a table by our name run his function, which notes who runs it."""
    stands_beside = len(HOST.schemas) == 1
    with connect_again(engine, user="keeper") as keeper:
        keeper.execute("CREATE TABLE who (by text)")
        keeper.execute(
            "CREATE FUNCTION note_who() RETURNS boolean LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO who VALUES (current_user); RETURN TRUE; END $$"
        )
        keeper.execute("ALTER FUNCTION note_who SET search_path FROM CURRENT")
        if stands_beside:
            keeper.execute(f"ALTER TABLE {table} RENAME TO plain".encode())
        shown = "plain" if stands_beside else HOST.table(table)
        (columns,) = keeper.execute(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS names "
            "FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
            ("plain" if stands_beside else table,),
        ).fetchall()
        keeper.execute(
            f"CREATE OR REPLACE VIEW {table} AS "
            f"SELECT {columns['names']} FROM {shown} WHERE note_who()".encode()
        )


def insert_a_result(engine: Connection) -> None:
    engine.execute(
        f"INSERT INTO {HOST.transitions} (workflow_step_uuid, to_state, sort_key, most_recent) "
        f"SELECT workflow_step_uuid, to_state, 77, FALSE FROM {HOST.transitions} LIMIT 1".encode()
    )


def seal(engine: Connection) -> None:
    succeed("seal", to=engine)


def backfill(engine: Connection) -> None:
    succeed("backfill", to=engine)


def status(engine: Connection) -> None:
    status_of(engine)


STEPS, TRANSITIONS = "tasker_workflow_steps", "tasker_workflow_step_transitions"


@pytest.mark.parametrize(
    ("table", "act"),
    [(STEPS, insert_a_result), (STEPS, backfill), (TRANSITIONS, seal), (TRANSITIONS, status)],
)
def test_the_owners_code_runs_with_his_rights_only(
    engine: Connection, table: str, act: Callable[[Connection], None]
) -> None:
    record(engine)
    install_audit(engine)
    record(engine)
    spy_on(engine, table)
    act(engine)
    assert engine.execute("SELECT DISTINCT by FROM who").fetchall() == [{"by": "keeper"}]


@pytest.mark.parametrize("what", ["install", "attach", "detach", "uninstall"])
def test_a_stranger_is_refused(engine: Connection, what: str) -> None:
    engine.execute(f"GRANT CREATE ON DATABASE {engine.info.dbname} TO clerk".encode())
    if what != "install":
        install_audit(engine)
    for schema in HOST.schemas if what != "install" else HOST.schemas[-1:]:
        engine.execute(f"GRANT USAGE ON SCHEMA {schema} TO clerk".encode())
    before = take_inventory(engine)
    confirm = ["--yes"] if what == "uninstall" else []
    done = step_audit(what, *confirm, "--dsn", dsn_of(engine, user="clerk"))
    assert (done.code, done.out) == (3, "")
    said = (
        "(the engine's tables belong to keeper, and clerk is no member of it; nothing was changed. "
        "Connect as keeper, as a member of it, or as a superuser"
        "|permission denied for table [a-z_]+; nothing was changed. "
        "Connect as the owner of the engine's tables)"
    )
    assert re.fullmatch(rf"step-audit: {said}\.\n", done.err)
    assert take_inventory(engine) == before


ELSEWHERE = replace(HOST, audit_schema="elsewhere")


def refused(conn: Connection, reason: str, host: Host = HOST) -> None:
    before = take_inventory(conn)
    with pytest.raises(RefusedError, match=reason):
        install_audit(conn, host=host)
    assert take_inventory(conn) == before


def test_an_owner_who_may_not_read_his_tables_is_told(engine: Connection) -> None:
    engine.execute(f"REVOKE SELECT ON {HOST.transitions} FROM keeper".encode())
    refused(engine, "role keeper has no right SELECT on .*, which belongs to it")
    engine.execute(f"GRANT SELECT ON {HOST.transitions} TO keeper".encode())
    install_audit(engine)
    assert problems(engine) == []


@pytest.fixture
def elsewhere(engine: Connection) -> Connection:
    """A schema that belongs to clerk, in which keeper may create."""
    engine.execute("CREATE SCHEMA elsewhere AUTHORIZATION clerk")
    engine.execute("GRANT USAGE, CREATE ON SCHEMA elsewhere TO keeper")
    return engine


def test_a_schema_whose_owner_may_drop_the_audit_is_refused(elsewhere: Connection) -> None:
    refused(elsewhere, "schema elsewhere belongs to clerk, who may remove what is", ELSEWHERE)
    elsewhere.execute("ALTER SCHEMA elsewhere OWNER TO keeper")
    assert install_audit(elsewhere, host=ELSEWHERE)


def test_a_forged_ledger_makes_nobody_a_part_of_step_audit(elsewhere: Connection) -> None:
    """A superuser would make the owner of it the owner of the audit."""
    with connect_again(elsewhere, user="clerk") as clerk:
        clerk.execute("CREATE TABLE elsewhere.step_audit_files (path text, sha256 text)")
        clerk.execute(
            "INSERT INTO elsewhere.step_audit_files VALUES "
            "('functions/record/is_worker_result.sql', '')"
        )
        clerk.execute(
            "CREATE FUNCTION elsewhere.is_worker_result(p_to_state text) RETURNS boolean "
            "LANGUAGE sql AS 'SELECT FALSE'"
        )
    refused(elsewhere, "permission denied for table step_audit_files", ELSEWHERE)


def test_others_create_nothing_in_a_schema_of_our_own(engine: Connection) -> None:
    engine.execute("CREATE SCHEMA elsewhere AUTHORIZATION keeper")
    install_audit(engine, host=ELSEWHERE)
    for role, shown in (("clerk", "clerk"), ("public", "PUBLIC")):
        engine.execute(f"GRANT CREATE ON SCHEMA elsewhere TO {role}".encode())
        (status,) = call(engine, "elsewhere", "get_step_audit_status")
        assert status["problems"] == [f"stray right CREATE on schema elsewhere of {shown}: attach"]
        assert installer.attach(engine, "elsewhere", Target()).changed
        (status,) = call(engine, "elsewhere", "get_step_audit_status")
        assert not status["problems"]


@pytest.mark.parametrize("kind", ["reader", "auditor"])
def test_a_reader_may_execute_what_default_privileges_gave_nobody(
    engine: Connection, kind: str
) -> None:
    engine.execute(
        "ALTER DEFAULT PRIVILEGES FOR ROLE keeper REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"
    )
    try:
        install_audit(engine)
    finally:
        engine.execute(
            "ALTER DEFAULT PRIVILEGES FOR ROLE keeper GRANT EXECUTE ON FUNCTIONS TO PUBLIC"
        )
    record(engine)
    with connect_again(engine, user="clerk") as clerk:
        with pytest.raises(errors.InsufficientPrivilege):
            call(clerk, HOST.audit_schema, "list_step_audits")
        call(engine, HOST.audit_schema, "grant_step_audit", p_role="clerk", p_as=kind)
        assert len(call(clerk, HOST.audit_schema, "list_step_audits")) == 1


def install(conn: Connection) -> bool:
    return install_audit(conn)


def attach(conn: Connection) -> bool:
    return installer.attach(conn, HOST.audit_schema, Target()).changed


@pytest.mark.parametrize("repair", [install, attach])
def test_after_the_tables_changed_hands_a_superuser_repairs_the_owners(
    engine: Connection, repair: Callable[[Connection], bool]
) -> None:
    install_audit(engine)
    record(engine)
    give_engine_to(engine, "heir")
    assert any(
        "do not belong to heir as the engine's tables do: attach" in problem
        for problem in problems(engine)
    )
    with connect_again(engine, user="heir") as heir, pytest.raises(RefusedError):
        repair(heir)
    assert repair(engine)
    assert owners(engine) == {"heir"}
    assert problems(engine) == []
    # The one before has no right left by which he could write, read or change it.
    engine.execute(f"REVOKE ALL ON SCHEMA {HOST.audit_schema} FROM keeper".encode())
    record(engine)
    assert count_audit_rows(engine) == 2
    assert not repair(engine)
