"""Which engine is audited, from which schema, by whom: found, named, and found again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from step_audit.setup.sources import load_sources
from step_audit.trust.note import generate_key
from tests.hosts.conftest import EmptyWorld, NewWorld
from tests.hosts.engines import BESIDE, CLASSIC, OWNER, TASKER, WORKER, Engine
from tests.hosts.operations import NOTHING_TO_BACKFILL, assert_healthy
from tests.hosts.world import World, create_engine
from tests.support.audit import expected_rows
from tests.support.command import psql, run, succeed
from tests.support.connect import dsn_of
from tests.support.host import Host, classic_in
from tests.support.keys import write_key
from tests.support.results import record_results

RELEASE = load_sources().release
LAYOUTS = {
    "classic": Engine("classic", CLASSIC),
    "tasker": Engine("tasker", TASKER),
    "own schema": Engine("own schema", BESIDE, options=("--schema", "step_audit")),
}
EACH_LAYOUT = pytest.mark.parametrize("engine", LAYOUTS.values(), ids=LAYOUTS)
SECOND = classic_in("second")
LOOKED_FOR = (
    "looked for tables tasker_tasks, tasker_workflow_steps, tasker_named_steps, "
    "tasker_workflow_step_transitions, and for tasks, workflow_steps, named_steps, "
    "workflow_step_transitions"
)


def create_three(world: World) -> World:
    """Three engines in one database."""
    for host in (CLASSIC, TASKER, SECOND):
        create_engine(world.conn, Engine(host.schema, host))
    return world


def record(world: World, host: Host) -> int:
    """The worker writes results of one of the engines; gives how many."""
    path = ", ".join(f'"{schema}"' for schema in (*host.schemas, "public"))
    with world.as_role(WORKER) as conn:
        conn.execute(f"SET search_path = {path}".encode())
        return len(record_results(conn, 2, host))


def refused(world: World, *arguments: str) -> str:
    """The command refuses, and changes nothing; gives its words."""
    before = world.inventory()
    done = world.try_to(*arguments)
    assert (done.code, done.out) == (3, "")
    assert world.inventory() == before
    return done.err


# None, or several.


def test_no_engine_is_found(empty_world: EmptyWorld) -> None:
    world = empty_world(LAYOUTS["classic"])
    assert refused(world, "install") == (
        f"step-audit: no workflow engine was found in database {world.conn.info.dbname}: "
        f"{LOOKED_FOR}; nothing was changed. Run the engine's migrations first, or connect to its "
        "database.\n"
    )


def test_no_engine_is_found_in_the_schema_that_was_named(new_world: NewWorld) -> None:
    world = new_world(LAYOUTS["classic"], False)
    assert refused(world, "install", "--engine-schema", "nowhere") == (
        f"step-audit: no workflow engine was found in schema nowhere: {LOOKED_FOR}; nothing was "
        "changed. Run the engine's migrations first, or connect to its database.\n"
    )


def test_several_engines_are_found_and_listed(empty_world: EmptyWorld) -> None:
    world = create_three(empty_world(LAYOUTS["classic"]))
    several = (
        "step-audit: several schemas have a workflow engine's tables: public, second, tasker; "
        "nothing was changed. Name the one to audit with --engine-schema.\n"
    )
    assert refused(world, "install") == several
    assert refused(world, "install", "--schema", "step_audit") == several
    assert not world.has_schema("step_audit")


@pytest.mark.parametrize(
    ("options", "host"),
    [
        (("--engine-schema", "public"), CLASSIC),
        (("--engine-schema", "second"), SECOND),
        (("--engine-schema", "tasker"), TASKER),
        (("--schema", "second"), SECOND),
        (("--schema", "step_audit", "--engine-schema", "public"), BESIDE),
        (
            ("--schema", "audit of it", "--engine-schema", "tasker"),
            replace(TASKER, audit_schema="audit of it"),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_one_of_several_is_audited_alone(
    empty_world: EmptyWorld, options: tuple[str, ...], host: Host
) -> None:
    world = create_three(empty_world(LAYOUTS["classic"]))
    assert f" installed in schema {host.audit_schema}\n" in world.run("install", *options)
    audited = 0
    for each in (CLASSIC, TASKER, SECOND):
        count = record(world, each)
        audited += count if each.schema == host.schema else 0
    status = world.status()
    assert (status["audit_rows"], status["unaudited"]) == (audited, 0)
    # What is installed is found again, with no option and with any of those it was installed with.
    for again in ((), options):
        assert "was installed already, nothing changed" in world.run("install", *again)
    assert "was attached already, nothing changed" in world.run("attach")


def test_two_engines_are_audited_side_by_side(empty_world: EmptyWorld) -> None:
    world = create_three(empty_world(LAYOUTS["classic"]))
    world.run("install", "--engine-schema", "tasker")
    world.run("install", "--engine-schema", "second")
    for host, count in ((TASKER, record(world, TASKER)), (SECOND, record(world, SECOND))):
        status = world.status("--schema", host.audit_schema)
        assert (status["audit_rows"], status["attached"]) == (count, True)
        assert world.run("verify", "--schema", host.audit_schema).endswith("findings: 0\n")
    assert refused(world, "status") == (
        f"step-audit: database {world.conn.info.dbname} has step-audit in several schemas: second, "
        "step_audit. Name one with --schema, in Python with schema=.\n"
    )
    world.run("uninstall", "--yes", "--drop-data", "--schema", "second")
    assert world.status()["attached"] is True


def test_one_more_engine_does_not_confuse_an_install(empty_world: EmptyWorld) -> None:
    engine = LAYOUTS["tasker"]
    world = empty_world(engine)
    create_engine(world.conn, engine)
    world.run("install")
    create_engine(world.conn, Engine("second", SECOND))
    assert "was installed already, nothing changed" in world.run("install")
    assert "was attached already, nothing changed" in world.run("attach")
    world.run("detach")
    assert refused(world, "attach").startswith(
        "step-audit: several schemas have a workflow engine's tables: second, tasker; "
    )
    world.run("attach", "--engine-schema", "tasker")
    world.record()
    assert_healthy(world)


# Found again.


@EACH_LAYOUT
def test_each_command_finds_the_install(
    new_world: NewWorld, tmp_path: Path, engine: Engine
) -> None:
    world = new_world(engine, True)
    (recorded, *_) = world.record()
    pair = generate_key("example.com/audit")
    key, note = tmp_path / "key", tmp_path / "note"
    write_key(key, pair)
    signed = ("--checkpoint", str(note), "--public-key", pair.verifier.to_text())
    here = f"in schema {engine.host.audit_schema}"
    (row,) = world.conn.execute(
        "SELECT workflow_step_result_audit_uuid AS uuid FROM tasker_workflow_step_result_audit "
        "WHERE workflow_step_transition_uuid = %s",
        (recorded.transition_uuid,),
    ).fetchall()

    assert here in world.run("install")
    assert here in world.run("attach")
    assert world.run("backfill") == NOTHING_TO_BACKFILL
    assert "\nattached              yes\n" in world.run("status")
    assert recorded.step.name in world.run("history", str(recorded.step.step_uuid))
    assert here in world.run("grant", WORKER, "--as", "reader")
    assert world.run("seal")
    assert world.run("checkpoint", "--key", str(key), "--out", str(note), "--first") == ""
    assert world.run("verify", *signed).endswith("findings: 0\n")
    assert world.run("prove", str(row["uuid"]), *signed)
    assert here in world.run("detach")
    assert here in world.run("attach")
    assert f"from schema {engine.host.audit_schema}" in world.run("uninstall", "--yes")
    # Without options: the kept rows say where.
    assert here in world.run("install")
    assert_healthy(world)


# By whom, and by which way.


def by_command(world: World, role: str) -> None:
    succeed("install", *world.engine.options, "--dsn", dsn_of(world.conn, user=role))


def by_script(world: World, role: str) -> None:
    done = psql(world.conn, succeed("sql", *world.engine.options), user=role)
    assert (done.code, done.err) == (0, "")


@pytest.fixture
def reference(new_world: NewWorld, engine: Engine) -> World:
    """What the owner of the engine's tables gets by the command."""
    return new_world(engine, True)


@EACH_LAYOUT
@pytest.mark.parametrize("install", [by_command, by_script])
@pytest.mark.parametrize("role", [OWNER, "engine_member", "engine_member_by_set", "postgres"])
def test_whoever_installs_it_is_the_owners(
    new_world: NewWorld,
    reference: World,
    engine: Engine,
    install: Callable[[World, str], None],
    role: str,
) -> None:
    world = new_world(engine, False)
    create_members(world)
    install(world, role)
    assert world.inventory() == reference.inventory()
    recorded = world.record()
    assert world.rows() == expected_rows(recorded)
    again = succeed("install", *engine.options, "--dsn", dsn_of(world.conn, user=role))
    assert "was installed already, nothing changed" in again
    world.run("uninstall", "--yes")


@EACH_LAYOUT
def test_a_stranger_is_refused_by_command_and_script(new_world: NewWorld, engine: Engine) -> None:
    world = new_world(engine, False)
    before = world.inventory()
    done = run("install", *engine.options, "--dsn", dsn_of(world.conn, user=WORKER))
    said = f"the engine's tables belong to {OWNER}, and {WORKER} is no member of it"
    remedy = f"Connect as {OWNER}, as a member of it, or as a superuser."
    assert (done.code, done.out) == (3, "")
    assert done.err == f"step-audit: {said}; nothing was changed. {remedy}\n"
    done = psql(world.conn, succeed("sql", *engine.options), user=WORKER)
    assert done.code == 3
    assert said in done.err
    assert f"HINT:  {remedy}" in done.err
    assert world.inventory() == before


def create_members(world: World) -> None:
    """Members of the owner's role: with its rights, and with them after SET ROLE only."""
    known = {row["rolname"] for row in world.conn.execute("SELECT rolname FROM pg_roles")}
    for name, how in (("engine_member", "INHERIT"), ("engine_member_by_set", "NOINHERIT")):
        if name not in known:
            world.conn.execute(f"CREATE ROLE {name} LOGIN {how} IN ROLE {OWNER}".encode())


# As an extension.


@EACH_LAYOUT
def test_an_extension_is_attached_to_the_engine_that_was_named(
    empty_world: EmptyWorld, engine: Engine
) -> None:
    world = create_three(empty_world(engine))
    schema = "step_audit"
    with world.as_role(OWNER) as conn:
        conn.execute("CREATE SCHEMA step_audit; CREATE EXTENSION step_audit SCHEMA step_audit")
    for host in (CLASSIC, TASKER, SECOND):
        record(world, host)
    status = world.status("--schema", schema)
    assert status["problems"] == ["the engine's tables are not shown in this schema: attach"]

    with world.as_role(OWNER) as conn:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as error:
            conn.execute("SELECT step_audit.attach_step_result_audit()")
        assert error.value.diag.message_primary == (
            "several schemas have a workflow engine's tables: public, second, tasker"
        )
        assert error.value.diag.message_hint == (
            "Name the one to audit: --engine-schema, or p_engine_schema."
        )
        conn.execute(f"SELECT step_audit.attach_step_result_audit('{engine.host.schema}')".encode())
    assert "backfill: 2 audit rows in " in world.run("backfill")
    assert record(world, engine.host) == 2
    status = world.status()
    assert (status["attached"], status["audit_rows"], status["unaudited"]) == (True, 4, 0)
