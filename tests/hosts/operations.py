"""The columns of the matrix: what is done with an engine's database, and what must hold."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from step_audit.setup.sources import load_sources
from step_audit.trust.note import generate_key
from tests.hosts.engines import WORKER
from tests.hosts.world import World
from tests.support.audit import expected_rows, play
from tests.support.host import (
    FAILED,
    OK,
    Step,
    Transition,
    create_steps,
    insert_copy,
    insert_each,
    insert_together,
    real_transitions,
)
from tests.support.keys import write_key
from tests.support.strategies import Write, histories

RELEASE = load_sources().release
NOTHING_TO_BACKFILL = "backfill: nothing to do, every result has its audit row\n"

_SOME = settings(max_examples=12, suppress_health_check=list(HealthCheck))
_HOSTILE = (
    None,
    "[]",
    '{"event": "not JSON", "worker_uuid": 7}',
    '{"event": "{\\"success\\": \\"\\\\u0000\\", \\"x\\": 1e1000000}", "correlation_id": {}}',
)


def install(world: World) -> None:
    """The owner installs; a second time there is nothing to do."""
    before = world.inventory()
    notes = "".join(f"note: {note}\n" for note in world.engine.notes)
    told = f"in schema {world.host.audit_schema}\n{notes}{NOTHING_TO_BACKFILL}"
    assert world.install() == f"step-audit {RELEASE} installed {told}"
    after = world.inventory()
    assert {name: after.get(name) for name in before} == before
    new = [facts for name, facts in after.items() if name not in before]
    assert {facts["owner"] for facts in new if "owner" in facts} == {world.engine.owner}
    assert_healthy(world)

    unchanged = f"step-audit {RELEASE} was installed already, nothing changed {told}"
    assert world.install() == unchanged
    assert world.run("attach") == f"step-audit was attached already, nothing changed {told}"
    assert world.inventory() == after


def write_live(world: World) -> None:
    """Whatever the worker writes, and however, has the audit rows that the oracle expects."""
    with world.as_role(WORKER):
        steps = create_steps(world.conn, 3, host=world.host)

    @_SOME
    @given(st.data())
    def law(data: st.DataObject) -> None:
        history = _history(world, data, steps)
        with world.conn.transaction(force_rollback=True):
            with world.as_role(WORKER):
                kept = play(world.conn, history, world.host)
            assert world.rows() == expected_rows(kept)

    law()
    written = _write(world)
    assert world.rows() == expected_rows(written)


def backfill(world: World) -> None:
    """An install audits the past as the trigger would have."""
    past = _write_past(world)
    expected = expected_rows(past, backfilled=True)
    printed = world.install("--batch-size", "7")
    assert f"\nbackfill: {len(expected)} audit rows in " in printed
    assert world.rows() == expected
    assert world.run("backfill") == NOTHING_TO_BACKFILL
    assert_healthy(world)


def verify(world: World) -> None:
    """A verification of past, present and the sealed log finds nothing."""
    past = _write_past(world)
    world.install()
    expected = expected_rows(past, backfilled=True) | expected_rows(_write(world))
    assert_nothing_found(world, len(expected))


def uninstall(world: World) -> None:
    """Only the audit's own tables stay, or nothing at all; the engine goes on in either case."""
    before = world.inventory()
    world.install()
    recorded = {each.transition_uuid for each in world.record()}
    world.run("uninstall", "--yes")
    after = world.inventory()
    assert {name: after.get(name) for name in before} == before
    kept = {name: facts for name, facts in after.items() if name not in before}
    kinds = {facts.get("kind", name.partition(" ")[0]) for name, facts in kept.items()}
    assert kinds == {"r", "c", "column", "index", "constraint", "file"}
    world.record()
    assert world.audited() == recorded

    world.install()
    world.run("uninstall", "--yes", "--drop-data")
    assert world.inventory() == before
    world.record()


def reinstall(world: World) -> None:
    """A later install goes on with the kept rows, also with those whose transitions are gone."""
    deleted = {each.transition_uuid for each in world.record()}
    kept = world.record()
    world.run("uninstall", "--yes")
    with world.as_role(world.engine.owner):
        world.delete(deleted)
    unaudited = world.record()
    printed = world.install()
    assert (
        "note: the engine has deleted the transitions of kept audit rows, which stay: " in printed
    )
    assert f"\nbackfill: {len(unaudited)} audit rows in " in printed
    live = world.record()
    assert world.rows() == (
        expected_rows(kept) | expected_rows(unaudited, backfilled=True) | expected_rows(live)
    )
    assert world.audited() == deleted | set(world.rows())
    assert_healthy(world)


def detach(world: World) -> None:
    """A migration of the engine that is refused while attached goes through in between."""
    before = expected_rows(world.record())
    with pytest.raises(
        (psycopg.errors.FeatureNotSupported, psycopg.errors.DependentObjectsStillExist)
    ):
        world.migrate(world.engine.migration)
    before |= expected_rows(world.record())
    assert world.rows() == before

    world.run("detach")
    assert world.status()["attached"] is False
    between = world.record()
    world.migrate(world.engine.migration)
    between += world.record()
    printed = world.run("attach")
    assert printed.startswith(f"step-audit attached in schema {world.host.audit_schema}\n")
    assert f"\nbackfill: {len(between)} audit rows in " in printed
    live = world.record()
    expected = before | expected_rows(between, backfilled=True) | expected_rows(live)
    assert world.rows() == expected
    assert_healthy(world)
    assert_nothing_found(world, len(expected))


def clean_up(world: World) -> None:
    """The engine deletes, writes again and moves what is audited; the audit rows stay."""
    recorded = world.record(6)
    audited = world.audited()
    with world.as_role(world.engine.owner) as conn:
        world.delete({each.transition_uuid for each in recorded[:3]})
        insert_each(conn, recorded[:1], world.host)
        moved = f"UPDATE {world.host.transitions} SET created_at = created_at - interval '3 years'"
        assert conn.execute(moved.encode()).rowcount == len(recorded) * 2 - 2
        insert_each(conn, _strays() if world.engine.lacks_keys else [], world.host)
        for each in recorded[2:]:
            world.delete_task(each.step.task_uuid)
    for partition in world.partitions():
        world.migrate(f"ALTER TABLE {world.host.transitions} DETACH PARTITION {partition}")
        world.migrate(f"DROP TABLE {partition}")
    assert world.audited() == audited == {each.transition_uuid for each in recorded}
    events = {"result came again", *(["result without step"] if world.engine.lacks_keys else [])}
    assert world.events() == events


def refuse_install(world: World) -> None:
    """An install says why not and what to do, changes nothing, and the engine goes on."""
    recorded = world.record()
    before = world.inventory()
    for arguments in ((), ("--no-backfill", "--lock-timeout", "1s")):
        done = world.try_to("install", *world.engine.options, *arguments)
        assert (done.code, done.out) == (3, "")
        assert world.engine.refused is not None
        reason = world.engine.refused.format(database=world.conn.info.dbname)
        assert done.err == f"step-audit: {reason}\n"
    assert world.inventory() == before
    home = world.host.audit_schema
    assert home == world.host.schema or not world.has_schema(home)
    recorded += world.record()
    assert world.count_transitions() == 2 * len(recorded)


def follow_remedy(world: World) -> None:
    """Once that was done which the refusal advises, the engine is served."""
    world.try_to("install", *world.engine.options)
    past = world.record()
    world.conn.execute(world.engine.cure.encode())
    world.install()
    live = world.record()
    expected = expected_rows(past, backfilled=True) | expected_rows(live)
    assert world.rows() == expected
    assert_healthy(world)
    assert_nothing_found(world, len(expected))


def assert_healthy(world: World) -> None:
    """All results are audited, and ``status`` knows of nothing that is out of order."""
    status = world.status()
    assert status["problems"] is None
    assert (status["attached"], status["trigger_state"]) == (True, "enabled")
    assert status["unaudited"] == 0


def assert_nothing_found(world: World, sealed: int) -> None:
    """Seal, sign and verify."""
    with TemporaryDirectory() as folder:
        key, note = Path(folder, "key"), Path(folder, "note")
        pair = generate_key("example.com/audit")
        write_key(key, pair)
        world.run("seal")
        world.run("checkpoint", "--key", str(key), "--out", str(note), "--first")
        options = ("--checkpoint", str(note), "--public-key", pair.verifier.to_text())
        report = json.loads(world.run("verify", "--json", *options))
    assert report["findings"] == []
    counts = report["counts"]
    assert (counts["audit_rows"], counts["sealed"]) == (sealed, sealed)


def _history(world: World, data: st.DataObject, steps: list[Step]) -> list[Write]:
    """A generated history, in the ways that the engine's worker may write."""
    return [
        write if world.engine.copies or write.how != "copy" else replace(write, how="together")
        for write in data.draw(histories(steps))
    ]


def _write_past(world: World) -> list[Transition]:
    """The worker writes histories; some of them are from long ago."""
    written = _write(world)

    @_SOME
    @given(st.data())
    def write(data: st.DataObject) -> None:
        with world.as_role(WORKER):
            steps = create_steps(world.conn, 3, host=world.host)
            written.extend(play(world.conn, _history(world, data, steps), world.host))

    write()
    old = (
        f"UPDATE {world.host.transitions} SET created_at = created_at - interval '3 years' "
        "WHERE sort_key % 2 = 0"
    )
    with world.as_role(world.engine.owner) as conn:
        assert conn.execute(old.encode()).rowcount
    return written


def _write(world: World) -> list[Transition]:
    """The worker writes what a real engine wrote and what is hostile, each in its way."""
    with world.as_role(WORKER) as conn:
        steps = create_steps(conn, 6, host=world.host)
        real = [
            Transition(steps[0], row["to_state"], json.dumps(row["metadata"]), n, row["from_state"])
            for n, row in enumerate(real_transitions())
        ]
        (insert_copy if world.engine.copies else insert_together)(conn, real, world.host)
        hostile = [
            Transition(steps[n % 2 + 1], (OK, FAILED)[n % 2], metadata, n, "in_progress")
            for n, metadata in enumerate(_HOSTILE)
        ]
        insert_each(conn, hostile, world.host)
        again = [
            Transition(steps[3], each.to_state, each.metadata, each.sort_key) for each in hostile
        ]
        insert_together(conn, again, world.host)
    return real + hostile + again


def _strays() -> list[Transition]:
    """Results that only the engine's own keys would forbid."""
    return [Transition(Step(uuid.uuid4(), uuid.uuid4(), ""), OK, "{}", 1)]


@dataclass(frozen=True)
class Operation:
    """A column: what to do, on an installed engine or on one before the install."""

    run: Callable[[World], None]
    installed: bool = True


SERVED = {
    "install": Operation(install, installed=False),
    "live": Operation(write_live),
    "backfill": Operation(backfill, installed=False),
    "verify": Operation(verify, installed=False),
    "uninstall": Operation(uninstall, installed=False),
    "reinstall": Operation(reinstall),
    "detach/attach": Operation(detach),
    "cleanup": Operation(clean_up),
}
REFUSED = {
    "install": Operation(refuse_install, installed=False),
    "remedy": Operation(follow_remedy, installed=False),
}
