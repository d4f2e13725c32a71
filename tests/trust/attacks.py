"""The rows of the matrix: what a superuser does to the evidence, and what must then be found.

Each attack is done in an open transaction, with the guards switched off and on again, and gives the
findings that name it: all of them, and no other. A benign one gives none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID, uuid4

from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.note import generate_key
from step_audit.trust.signing import make_checkpoint
from tests.support.host import HOST, OK, Transition, insert_each
from tests.trust.world import SUBTREE, Found, Record, World, seal

AUDIT = "tasker_workflow_step_result_audit"
ANOMALIES = "tasker_workflow_step_result_audit_anomalies"
TRANSITIONS = "tasker_workflow_step_transitions"
LEAVES, SUBTREES, SEALS = "step_audit_leaves", "step_audit_subtrees", "step_audit_seals"
SALTS = "step_audit_salts"
CHANGES, EVENTS = "step_audit_changes", "step_audit_events"
GUARDED = (AUDIT, ANOMALIES, CHANGES, EVENTS, LEAVES, SALTS, SUBTREES, SEALS)
GUARDS = ("trg_append_only", "trg_append_only_truncate")


@dataclass(frozen=True)
class Attack:
    """``commit`` does it and gives what must be found, or a checkpoint that must be refused."""

    name: str
    commit: Callable[[World], Iterable[Found] | str]
    benign: bool


ATTACKS: dict[str, Attack] = {}

Deed = TypeVar("Deed", bound=Callable[[World], "Iterable[Found] | str"])


def attack(deed: Deed) -> Deed:
    """An attack by the name of the function."""
    ATTACKS[deed.__name__] = Attack(deed.__name__, deed, benign=False)
    return deed


def benign(deed: Deed) -> Deed:
    """What happens in ordinary use, or cannot be told from it: it must be silent."""
    ATTACKS[deed.__name__] = Attack(deed.__name__, deed, benign=True)
    return deed


# What is found.


def altered(record: Record) -> Found:
    return Found("altered record", record.audit, field=f"leaf {record.index}")


def deleted(record: Record) -> Found:
    return Found("deleted record", record.audit, field=f"leaf {record.index}")


def mismatch(record: Record, field: str) -> Found:
    return Found("mismatch", record.audit, record.transition, field)


def missing(transition: UUID) -> Found:
    return Found("missing", transition=transition)


def extra(audit: UUID, transition: UUID) -> Found:
    return Found("extra", audit, transition)


def inserted(audit: UUID, xid: int) -> Found:
    return Found("inserted record", audit, field=f"transaction {xid}")


def broken(kind: str, name: str) -> Found:
    return Found(kind, field=name)


MADE_ANEW = broken("altered object", f"table {AUDIT}")
REWRITTEN = Found("rewritten log")
TRUNCATED = Found("truncated log")


def altered_subtree(index: int) -> Found:
    first, last = index * SUBTREE, index * SUBTREE + SUBTREE - 1
    return Found("altered log", field=f"subtree {index} of leaves {first} to {last}")


def altered_seal(world: World) -> Found:
    """The newest checkpoint signs the newest seal."""
    return Found("altered log", field=f"seal of {world.size} leaves")


def altered_leaves(world: World, *indexes: int) -> set[Found]:
    """A leaf whose hash was changed shows in its subtree, and in the root that was signed."""
    full = world.size // SUBTREE
    subtrees = {index // SUBTREE for index in indexes if index // SUBTREE < full}
    return {REWRITTEN, *map(altered_subtree, subtrees)}


# How it is done.


@contextmanager
def unguarded(conn: Connection) -> Iterator[None]:
    """Without guards, triggers and foreign keys; afterwards nothing shows that they were off."""
    conn.execute("SET LOCAL session_replication_role = replica")
    for table in GUARDED:
        for guard in GUARDS:
            conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER {guard}".encode())
    yield
    for table in GUARDED:
        for guard in GUARDS:
            conn.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}".encode())
    conn.execute("SET LOCAL session_replication_role = origin")


def change(world: World, statement: str, *arguments: object) -> None:
    """Run a statement unguarded; it changes something."""
    with unguarded(world.conn):
        assert world.conn.execute(statement.encode(), arguments).rowcount > 0


def change_audit(world: World, record: Record, assignments: str) -> None:
    change(
        world,
        f"UPDATE {AUDIT} SET {assignments} WHERE workflow_step_result_audit_uuid = %s",
        record.audit,
    )


def change_transition(world: World, record: Record, assignments: str) -> None:
    change(
        world,
        f"UPDATE {TRANSITIONS} SET {assignments} WHERE workflow_step_transition_uuid = %s",
        record.transition,
    )


def delete_audit(world: World, record: Record) -> None:
    change(world, f"DELETE FROM {AUDIT} WHERE workflow_step_result_audit_uuid = %s", record.audit)


def delete_transition(world: World, record: Record) -> None:
    change(
        world,
        f"DELETE FROM {TRANSITIONS} WHERE workflow_step_transition_uuid = %s",
        record.transition,
    )


def insert_audit(world: World, transition: UUID, xid: int | None = None) -> tuple[UUID, int]:
    """Forge an audit row of a step; gives its key and its transaction."""
    step = world.history.steps[0]
    with unguarded(world.conn):
        (row,) = world.conn.execute(
            f"INSERT INTO {AUDIT} (workflow_step_uuid, workflow_step_transition_uuid, task_uuid, "
            "success, recorded_xid) "
            "VALUES (%s, %s, %s, TRUE, coalesce(%s, pg_current_xact_id()::text::bigint)) "
            "RETURNING workflow_step_result_audit_uuid AS audit, recorded_xid AS xid".encode(),
            (step.step_uuid, transition, step.task_uuid, xid),
        ).fetchall()
    return row["audit"], row["xid"]


def forge_transition(world: World, to_state: str = OK) -> UUID:
    """A transition of the engine's that the trigger does not see."""
    forged = Transition(world.history.steps[0], to_state, "{}", next(world.history.numbers))
    with unguarded(world.conn):
        insert_each(world.conn, [forged])
    return forged.transition_uuid


def old_xid(world: World) -> int:
    """A transaction that the newest seal has covered."""
    (seals,) = world.conn.execute(
        "SELECT covered::text FROM step_audit_seals ORDER BY tree_size DESC LIMIT 1"
    ).fetchall()
    return int(seals["covered"].split(":")[0]) - 1


def is_covered(world: World, record: Record) -> bool:
    """Whether the newest seal says that all of the record's transaction is sealed."""
    (seals,) = world.conn.execute(
        "SELECT covered::text FROM step_audit_seals ORDER BY tree_size DESC LIMIT 1"
    ).fetchall()
    xmin, xmax, running = seals["covered"].split(":")
    return record.xid < int(xmin) or (
        record.xid < int(xmax) and str(record.xid) not in running.split(",")
    )


def without_a_leaf(world: World, record: Record) -> list[Found]:
    """A record whose leaf is gone was not there when its transaction was sealed."""
    (here,) = world.conn.execute(
        "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax"
    ).fetchall()
    # Between the two it might have come since, from a transaction of this server.
    shows = is_covered(world, record) or record.xid >= here["xmax"]
    return [inserted(record.audit, record.xid)] if shows else []


def replace_in_function(world: World, name: str, *replacements: tuple[str, str]) -> None:
    """Change the text of a function, and nothing else of it."""
    (row,) = world.conn.execute(
        "SELECT pg_get_functiondef(oid) AS text, obj_description(oid) FROM pg_proc "
        "WHERE proname = %s AND pronamespace = %s::regnamespace",
        (name, HOST.audit_schema),
    ).fetchall()
    text = row["text"]
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    world.conn.execute(text.encode())


def hide_in_files(world: World, name: str) -> None:
    """Note the function as it is now as the one that was installed."""
    world.conn.execute(
        "UPDATE step_audit_objects AS l SET definition = o.definition "
        "FROM list_step_audit_objects() AS o WHERE l.object_name = o.object_name "
        "AND l.object_name = %s",
        (f"function {name}",),
    )


def reseal_leaf(world: World, record: Record) -> None:
    """Write leaf and subtree of a record as if it had been sealed as it is now."""
    assert record.index is not None
    change(
        world,
        f"UPDATE {LEAVES} AS l SET leaf_hash = sha256('\\x00'::bytea || convert_to(n.leaf, 'UTF8'))"
        " FROM list_step_audit_leaves(%s, %s) AS n WHERE l.leaf_index = n.leaf_index",
        *(record.index, record.index + 1),
    )
    place = record.index // SUBTREE
    change(
        world,
        f"UPDATE {SUBTREES} AS s SET root_hash = n.root_hash "
        "FROM compute_step_audit_subtrees(1, %s, %s) AS n "
        "WHERE s.height = 1 AND s.subtree_index = n.subtree_index",
        *(place, place + 1),
    )


# In ordinary use.


@benign
def none(world: World) -> list[Found]:
    return []


@benign
def most_recent_and_updated_at(world: World) -> list[Found]:
    world.conn.execute(
        f"UPDATE {TRANSITIONS} SET most_recent = FALSE, updated_at = updated_at + interval '1 day'"
    )
    return []


@benign
def more_results(world: World) -> list[Found]:
    world.history.record(world.conn, 10)
    return []


@benign
def another_seal(world: World) -> list[Found]:
    assert seal(world.conn) == len(world.unsealed)
    return []


@benign
def same_write(world: World) -> list[Found]:
    """An UPDATE that changes nothing."""
    change(world, f"UPDATE {AUDIT} SET success = success")
    return []


@benign
def result_as_by_the_engine(world: World) -> list[Found]:
    """Whoever may write transitions may record a result: it is audited as any other."""
    step = world.history.steps[0]
    insert_each(world.conn, [Transition(step, OK, "{}", next(world.history.numbers))])
    return []


# Edit an audit row.


@attack
def edit_success(world: World) -> list[Found]:
    record = world.plain[0]
    change_audit(world, record, "success = NOT success")
    return [altered(record), mismatch(record, "success")]


@attack
def edit_worker_uuid(world: World) -> list[Found]:
    record = world.plain[-1]
    change_audit(world, record, "worker_uuid = gen_random_uuid()")
    return [altered(record), mismatch(record, "worker_uuid")]


@attack
def edit_recorded_at(world: World) -> list[Found]:
    record = world.plain[1]
    change_audit(world, record, "recorded_at = recorded_at - interval '1 microsecond'")
    return [altered(record), mismatch(record, "recorded_at")]


@attack
def edit_execution_time(world: World) -> list[Found]:
    record = world.plain[2]
    change_audit(world, record, "execution_time_ms = NULL")
    return [altered(record), mismatch(record, "execution_time_ms")]


@attack
def edit_all_times(world: World) -> list[Found]:
    """So that they agree with each other: only the leaf tells."""
    record = world.plain[3]
    times = ("recorded_at", "created_at", "updated_at")
    change_audit(world, record, ", ".join(f"{each} = {each} + interval '1 day'" for each in times))
    return [altered(record)]


@attack
def edit_recorded_xid(world: World) -> list[Found]:
    record = world.plain[4]
    change_audit(world, record, "recorded_xid = recorded_xid + 1")
    return [altered(record)]


@attack
def edit_backfilled(world: World) -> list[Found]:
    record = next(each for each in world.sealed if each.backfilled)
    change_audit(world, record, "backfilled = FALSE, recorded_at = created_at")
    return [altered(record)]


@attack
def edit_audit_uuid(world: World) -> list[Found]:
    record, forged = world.plain[5], uuid4()
    change_audit(world, record, f"workflow_step_result_audit_uuid = '{forged}'")
    return [
        deleted(record),
        *without_a_leaf(world, Record(**{**vars(record), "audit": forged})),
    ]


@attack
def edit_unsealed_row(world: World) -> list[Found]:
    """What is not sealed yet is held against its transition only."""
    record = next(each for each in world.unsealed if not each.anomalous)
    change_audit(world, record, "execution_time_ms = 77777")
    return [mismatch(record, "execution_time_ms")]


@attack
def edit_last_sealed_row(world: World) -> list[Found]:
    record = world.sealed[-1]
    change_audit(world, record, "updated_at = updated_at + interval '1 second'")
    return [altered(record), mismatch(record, "updated_at")]


@attack
def edit_anomaly(world: World) -> list[Found]:
    record = next(each for each in world.sealed if each.anomalous)
    change(
        world,
        f"UPDATE {ANOMALIES} SET raw_value = raw_value || '!' "
        "WHERE workflow_step_result_audit_uuid = %s",
        record.audit,
    )
    return [mismatch(record, "anomalies")]


@attack
def delete_anomaly(world: World) -> list[Found]:
    record = next(each for each in world.sealed if each.anomalous)
    change(
        world, f"DELETE FROM {ANOMALIES} WHERE workflow_step_result_audit_uuid = %s", record.audit
    )
    return [mismatch(record, "anomalies")]


@attack
def insert_anomaly(world: World) -> list[Found]:
    record = world.plain[0]
    change(world, f"INSERT INTO {ANOMALIES} VALUES (%s, 'success', 'x', 'y')", record.audit)
    return [mismatch(record, "anomalies")]


# Edit the transition.


@attack
def edit_payload(world: World) -> list[Found]:
    """A part of the result that no audit column is read from."""
    record = world.plain[6]
    change_transition(world, record, "metadata = jsonb_set(metadata, '{payload}', '-1')")
    return [altered(record)]


@attack
def edit_payload_key_order(world: World) -> list[Found]:
    """The same in jsonb's eyes but for one space in a string."""
    record = world.plain[7]
    change_transition(
        world, record, "metadata = metadata || jsonb_build_object('payload', ' ', 'p', 1)"
    )
    return [altered(record)]


@attack
def edit_result(world: World) -> list[Found]:
    record = world.plain[8]
    change_transition(
        world,
        record,
        "metadata = jsonb_set(metadata, '{worker_uuid}', to_jsonb(gen_random_uuid()))",
    )
    return [altered(record), mismatch(record, "worker_uuid")]


@attack
def edit_result_and_row(world: World) -> list[Found]:
    """Both, so that they agree: only the leaf tells."""
    record, worker = world.plain[9], uuid4()
    change_transition(
        world, record, f"metadata = jsonb_set(metadata, '{{worker_uuid}}', '\"{worker}\"')"
    )
    change_audit(world, record, f"worker_uuid = '{worker}'")
    return [altered(record)]


@attack
def erase_result(world: World) -> list[Found]:
    record = world.plain[10]
    change_transition(world, record, "metadata = NULL")
    names = ("worker_uuid", "correlation_id", "execution_time_ms")
    failed = [] if record.to_state == OK or record.read[2] == "false" else ["success"]
    return [altered(record), *(mismatch(record, name) for name in (*names, *failed))]


@attack
def edit_transition_time(world: World) -> list[Found]:
    record = world.plain[11]
    change_transition(world, record, "created_at = created_at - interval '1 microsecond'")
    return [altered(record)]


@attack
def edit_backfilled_transition_time(world: World) -> list[Found]:
    record = next(each for each in world.sealed if each.backfilled)
    change_transition(world, record, "created_at = created_at - interval '1 day'")
    return [altered(record), mismatch(record, "recorded_at")]


@attack
def edit_to_state(world: World) -> list[Found]:
    record = world.plain[12]
    change_transition(world, record, "to_state = 'complete'")
    return [altered(record), extra(record.audit, record.transition)]


@attack
def edit_from_state(world: World) -> list[Found]:
    record = world.plain[13]
    change_transition(world, record, "from_state = NULL")
    return [altered(record)]


@attack
def edit_task_of_step(world: World) -> list[Found]:
    step = world.plain[0].step
    change(
        world,
        "UPDATE tasker_workflow_steps SET task_uuid = gen_random_uuid() "
        "WHERE workflow_step_uuid = %s",
        step,
    )
    return [mismatch(each, "task_uuid") for each in world.records if each.step == step]


# Delete.


@attack
def delete_first(world: World) -> list[Found]:
    delete_audit(world, world.sealed[0])
    return [deleted(world.sealed[0]), missing(world.sealed[0].transition)]


@attack
def delete_middle(world: World) -> list[Found]:
    record = world.sealed[world.size // 2]
    delete_audit(world, record)
    return [deleted(record), missing(record.transition)]


@attack
def delete_last(world: World) -> list[Found]:
    delete_audit(world, world.sealed[-1])
    return [deleted(world.sealed[-1]), missing(world.sealed[-1].transition)]


@attack
def delete_last_with_result(world: World) -> list[Found]:
    delete_audit(world, world.sealed[-1])
    delete_transition(world, world.sealed[-1])
    return [deleted(world.sealed[-1])]


@attack
def delete_all(world: World) -> list[Found]:
    change(world, f"DELETE FROM {AUDIT}")
    return [
        *(deleted(each) for each in world.sealed),
        *(missing(each.transition) for each in world.records),
    ]


@attack
def truncate_all_with_results(world: World) -> list[Found]:
    with unguarded(world.conn):
        emptied = ", ".join([AUDIT, ANOMALIES, HOST.transitions, *HOST.own_audit])
        world.conn.execute(f"TRUNCATE {emptied}".encode())
    return [deleted(each) for each in world.sealed]


@attack
def delete_last_with_log(world: World) -> list[Found]:
    """Records, results and log from the older checkpoint on, seals too."""
    size = world.older_size
    gone = world.sealed[size:]
    keys = [each.audit for each in gone]
    for table in (ANOMALIES, AUDIT):
        with unguarded(world.conn):
            world.conn.execute(
                f"DELETE FROM {table} WHERE workflow_step_result_audit_uuid = ANY(%s)".encode(),
                (keys,),
            )
    change(
        world,
        f"DELETE FROM {TRANSITIONS} WHERE workflow_step_transition_uuid = ANY(%s)",
        [each.transition for each in gone],
    )
    for table in (LEAVES, SALTS):
        change(world, f"DELETE FROM {table} WHERE leaf_index >= %s", size)
    change(world, f"DELETE FROM {SUBTREES} WHERE (subtree_index + 1) * 256 > %s", size)
    change(world, f"DELETE FROM {SEALS} WHERE tree_size > %s", size)
    return [TRUNCATED]


@attack
def delete_log(world: World) -> list[Found]:
    _delete_log(world)
    return [TRUNCATED]


def _delete_log(world: World) -> None:
    for table in (LEAVES, SALTS, SUBTREES, SEALS):
        change(world, f"DELETE FROM {table}")


@attack
def delete_transition_of_row(world: World) -> list[Found]:
    record = world.plain[14]
    delete_transition(world, record)
    return [altered(record), extra(record.audit, record.transition)]


# Insert.


@attack
def insert_row(world: World) -> list[Found]:
    transition = uuid4()
    audit, _ = insert_audit(world, transition)
    return [extra(audit, transition)]


@attack
def insert_row_of_old_transaction(world: World) -> list[Found]:
    transition, xid = uuid4(), old_xid(world)
    audit, _ = insert_audit(world, transition, xid)
    return [extra(audit, transition), inserted(audit, xid)]


@attack
def insert_row_under_a_sealed_key(world: World) -> list[Found]:
    """A forged result whose audit row stands beside a sealed one, under the same leaf."""
    record = world.plain[9]
    forged = forge_transition(world)
    audit, _ = insert_audit(world, forged)
    world.conn.execute(f"ALTER TABLE {AUDIT} DROP CONSTRAINT pk_audit".encode())
    change(
        world,
        f"UPDATE {AUDIT} SET workflow_step_result_audit_uuid = %s "
        "WHERE workflow_step_result_audit_uuid = %s",
        *(record.audit, audit),
    )
    return [
        broken("missing object", f"constraint {AUDIT}.pk_audit"),
        Found("doubled", record.audit, record.transition),
        Found("doubled", record.audit, forged),
        altered(record),
    ]


@attack
def insert_row_for_no_result(world: World) -> list[Found]:
    transition = forge_transition(world, "in_progress")
    audit, _ = insert_audit(world, transition)
    return [extra(audit, transition)]


@attack
def insert_result_of_old_transaction(world: World) -> list[Found]:
    """With a transition of its own, as if it had been there before the newest seal."""
    audit, xid = insert_audit(world, forge_transition(world), old_xid(world))
    return [inserted(audit, xid)]


@attack
def insert_result_of_future_transaction(world: World) -> list[Found]:
    """So that no seal would take it."""
    audit, xid = insert_audit(world, forge_transition(world), 2**62)
    return [inserted(audit, xid)]


@attack
def insert_result_of_no_transaction(world: World) -> list[Found]:
    audit, xid = insert_audit(world, forge_transition(world), -1)
    return [inserted(audit, xid)]


# Swap.


@attack
def swap_keys(world: World) -> list[Found]:
    one, other = world.plain[0], world.plain[-1]
    between = uuid4()
    for old, new in ((one.audit, between), (other.audit, one.audit), (between, other.audit)):
        change(
            world,
            f"UPDATE {AUDIT} SET workflow_step_result_audit_uuid = %s "
            "WHERE workflow_step_result_audit_uuid = %s",
            *(new, old),
        )
    return [altered(one), altered(other)]


@attack
def swap_results(world: World) -> list[Found]:
    one, other = world.plain[1], world.plain[-2]
    change(
        world,
        f"UPDATE {TRANSITIONS} AS t SET metadata = o.metadata FROM {TRANSITIONS} AS o "
        "WHERE (t.workflow_step_transition_uuid, o.workflow_step_transition_uuid) "
        "IN ((%s, %s), (%s, %s))",
        *(one.transition, other.transition, other.transition, one.transition),
    )
    names = ("worker_uuid", "correlation_id", "success", "execution_time_ms")
    return [
        altered(one),
        altered(other),
        *(
            mismatch(record, name)
            for name, mine, its in zip(names, one.read, other.read, strict=True)
            if mine != its
            for record in (one, other)
        ),
    ]


@attack
def swap_leaves(world: World) -> list[Found]:
    one, other = world.sealed[3], world.sealed[-1]
    for old, new in ((one.index, -1), (other.index, one.index), (-1, other.index)):
        change(world, f"UPDATE {LEAVES} SET leaf_index = %s WHERE leaf_index = %s", new, old)
    assert one.index is not None
    assert other.index is not None
    return [
        Found("altered record", one.audit, field=f"leaf {other.index}"),
        Found("altered record", other.audit, field=f"leaf {one.index}"),
        *altered_leaves(world, one.index, other.index),
    ]


# Write past the trigger.


@attack
def disable_write_enable(world: World) -> list[Found]:
    world.conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
    forged = Transition(world.history.steps[0], OK, "{}", next(world.history.numbers))
    insert_each(world.conn, [forged])
    world.conn.execute(f"ALTER TABLE {HOST.transitions} ENABLE TRIGGER {HOST.trigger}".encode())
    return [missing(forged.transition_uuid)]


@attack
def write_as_replica(world: World) -> list[Found]:
    world.conn.execute("SET LOCAL session_replication_role = replica")
    forged = Transition(world.history.steps[0], OK, "{}", next(world.history.numbers))
    insert_each(world.conn, [forged])
    world.conn.execute("SET LOCAL session_replication_role = origin")
    return [missing(forged.transition_uuid)]


# Replace the table.


@attack
def recreate_table(world: World) -> list[Found]:
    """As by a restore in place, by the book: who does it has to sign anew."""
    return make_table_anew(world, objects=True)


@attack
def seal_in_a_table_made_anew(world: World) -> list[Found]:
    """Where no seal was made yet, nothing tells of one record that it came late."""
    found = make_table_anew(world, objects=True)
    insert_audit(world, forge_transition(world), old_xid(world))
    assert seal(world.conn) == len(world.unsealed) + 1
    return found


@attack
def recreate_table_bare(world: World) -> list[Found]:
    """The same rows in a table with none of the other objects."""
    return make_table_anew(world, objects=False)


@attack
def recreate_table_doctored(world: World) -> list[Found]:
    record = world.plain[15]
    found = make_table_anew(world, objects=False, but=record)
    return [*found, altered(record)]


def make_table_anew(world: World, objects: bool, but: Record | None = None) -> list[Found]:
    conn = world.conn
    lost = conn.execute(
        "SELECT object_name AS name, definition FROM list_step_audit_objects() "
        "WHERE object_name ~ %s ORDER BY definition DESC",
        (rf"^((trigger|constraint) {AUDIT}\.|index idx_audit|view step_audits$)",),
    ).fetchall()
    # Two guards, two keys of its own, seven indexes, the view; on 18 three keys to the engine.
    assert len(lost) in {12, 15}
    conn.execute(f"CREATE TABLE backup (LIKE {AUDIT} INCLUDING DEFAULTS)")
    conn.execute(f"INSERT INTO backup SELECT * FROM {AUDIT}")
    if but:
        times = "recorded_at = recorded_at + '1 s', created_at = created_at + '1 s'"
        conn.execute(
            f"UPDATE backup SET {times}, updated_at = updated_at + '1 s' "
            "WHERE workflow_step_result_audit_uuid = %s",
            (but.audit,),
        )
    conn.execute(f"DROP TABLE {AUDIT} CASCADE")
    conn.execute(f"ALTER TABLE backup RENAME TO {AUDIT}")
    if not objects:
        # Made by another than the owner of the rest, too.
        belongs = broken("altered object", f"table {AUDIT}")
        return [MADE_ANEW, belongs, *(broken("missing object", each["name"]) for each in lost)]
    # As a dump has it; attach adds keys, guards and view.
    for each in lost:
        kind, _, name = each["name"].partition(" ")
        if kind == "constraint" and "FOREIGN KEY" not in each["definition"]:
            conn.execute(
                sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                    sql.Identifier(AUDIT),
                    sql.Identifier(name.removeprefix(f"{AUDIT}.")),
                    sql.SQL(each["definition"]),
                )
            )
        elif kind == "index":
            conn.execute(each["definition"])
    conn.execute("SELECT attach_step_result_audit()")
    return [MADE_ANEW]


# Edit the log.


@attack
def edit_leaf_hash(world: World) -> list[Found]:
    record = world.sealed[17]
    change(world, f"UPDATE {LEAVES} SET leaf_hash = sha256('x') WHERE leaf_index = 17")
    return [altered(record), *altered_leaves(world, 17)]


@attack
def edit_last_leaf_hash(world: World) -> list[Found]:
    record = world.sealed[-1]
    change(world, f"UPDATE {LEAVES} SET leaf_hash = '' WHERE leaf_index = %s", record.index)
    return [altered(record), *altered_leaves(world, world.size - 1)]


@attack
def rewrite_record_and_log(world: World) -> list[Found]:
    """The record, its leaf and its subtree agree: only the checkpoint tells."""
    record = world.plain[6]
    change_transition(world, record, "metadata = jsonb_set(metadata, '{payload}', '-1')")
    reseal_leaf(world, record)
    return [REWRITTEN]


@attack
def rewrite_whole_log(world: World) -> list[Found]:
    """A new log by an honest seal of altered records."""
    record = world.plain[6]
    change_transition(world, record, "metadata = jsonb_set(metadata, '{payload}', '-1')")
    _delete_log(world)
    seal(world.conn)
    return [REWRITTEN]


@attack
def edit_subtree(world: World) -> list[Found]:
    change(world, f"UPDATE {SUBTREES} SET root_hash = sha256('x') WHERE subtree_index = 1")
    return [altered_subtree(1)]


@attack
def delete_subtree(world: World) -> list[Found]:
    change(world, f"DELETE FROM {SUBTREES} WHERE subtree_index = 0")
    return [altered_subtree(0)]


@attack
def add_subtree(world: World) -> list[Found]:
    change(world, f"INSERT INTO {SUBTREES} VALUES (2, 0, sha256('x'))")
    return [Found("altered log", field="subtree 0 of height 2")]


@attack
def delete_leaf(world: World) -> list[Found]:
    record = world.plain[5]
    change(world, f"DELETE FROM {LEAVES} WHERE leaf_index = %s", record.index)
    assert record.index is not None
    return [
        Found("missing leaf", field=f"leaf {record.index}"),
        *altered_leaves(world, record.index),
        *without_a_leaf(world, record),
    ]


@attack
def add_leaf(world: World) -> list[Found]:
    record = world.unsealed[0]
    change(
        world,
        f"INSERT INTO {LEAVES} VALUES (%s, 'result', %s, sha256('x'))",
        *(world.size, record.audit),
    )
    return [Found("unsealed leaf", record.audit, field=f"leaf {world.size}")]


@attack
def raise_tree_size(world: World) -> list[Found]:
    change(world, f"UPDATE {SEALS} SET tree_size = tree_size + 1 WHERE tree_size = %s", world.size)
    return [Found("missing leaf", field=f"leaf {world.size}"), altered_seal(world)]


@attack
def lower_tree_size(world: World) -> list[Found]:
    change(world, f"UPDATE {SEALS} SET tree_size = tree_size - 1 WHERE tree_size = %s", world.size)
    last = world.sealed[-1]
    return [Found("unsealed leaf", last.audit, field=f"leaf {last.index}"), TRUNCATED]


@attack
def widen_seal(world: World) -> list[Found]:
    """So that no seal would take what is not sealed yet."""
    change(
        world, f"UPDATE {SEALS} SET covered = '9000000:9000000:' WHERE tree_size = %s", world.size
    )
    return [altered_seal(world), *(inserted(each.audit, each.xid) for each in world.unsealed)]


@attack
def empty_seal(world: World) -> list[Found]:
    """So that a seal would take what was inserted behind its back."""
    change(
        world, f"UPDATE {SEALS} SET covered = NULL, place = NULL WHERE tree_size = %s", world.size
    )
    return [altered_seal(world)]


@attack
def narrow_seal(world: World) -> list[Found]:
    change(world, f"UPDATE {SEALS} SET covered = '3:3:' WHERE tree_size = %s", world.size)
    return [altered_seal(world)]


@attack
def sign_with_another_key(world: World) -> str:
    """A checkpoint of an altered log, by a key of the same name."""
    edit_leaf_hash(world)
    return make_checkpoint(
        world.conn, HOST.audit_schema, generate_key("example.com/audit").to_text()
    ).note


@attack
def edit_checkpoint(world: World) -> str:
    """The signed size and root replaced by those of the altered log."""
    edit_leaf_hash(world)
    forged = make_checkpoint(
        world.conn, HOST.audit_schema, generate_key("example.com/audit").to_text()
    ).note
    text, blank, _ = forged.rpartition("\n\n")
    return text + blank + world.older.rpartition("\n\n")[2]


# The machinery.


@attack
def disable_trigger(world: World) -> list[Found]:
    world.conn.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
    return [broken("altered object", f"trigger {TRANSITIONS}.{HOST.trigger}")]


@attack
def trigger_for_replicas_only(world: World) -> list[Found]:
    world.conn.execute(
        f"ALTER TABLE {HOST.transitions} ENABLE REPLICA TRIGGER {HOST.trigger}".encode()
    )
    return [broken("altered object", f"trigger {TRANSITIONS}.{HOST.trigger}")]


@attack
def drop_trigger(world: World) -> list[Found]:
    world.conn.execute(f"DROP TRIGGER {HOST.trigger} ON {HOST.transitions}".encode())
    return [broken("missing object", f"trigger {TRANSITIONS}.{HOST.trigger}")]


@attack
def restrict_trigger(world: World) -> list[Found]:
    world.conn.execute(f"DROP TRIGGER {HOST.trigger} ON {HOST.transitions}".encode())
    world.conn.execute(
        f"CREATE TRIGGER {HOST.trigger} AFTER INSERT ON {HOST.transitions} FOR EACH ROW "
        "WHEN (NEW.sort_key > 0) EXECUTE FUNCTION create_step_result_audit()".encode()
    )
    return [broken("altered object", f"trigger {TRANSITIONS}.{HOST.trigger}")]


@attack
def drop_guard(world: World) -> list[Found]:
    world.conn.execute(f"DROP TRIGGER trg_append_only ON {LEAVES}")
    return [broken("missing object", f"trigger {LEAVES}.trg_append_only")]


@attack
def disable_guard(world: World) -> list[Found]:
    world.conn.execute(f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only")
    return [broken("altered object", f"trigger {AUDIT}.trg_append_only")]


@attack
def weaken_guard(world: World) -> list[Found]:
    """It fires, but not under session_replication_role = replica."""
    world.conn.execute(f"ALTER TABLE {SEALS} ENABLE TRIGGER trg_append_only")
    return [broken("altered object", f"trigger {SEALS}.trg_append_only")]


@attack
def drop_index(world: World) -> list[Found]:
    world.conn.execute("DROP INDEX idx_audit_recorded_xid")
    return [broken("missing object", "index idx_audit_recorded_xid")]


@attack
def drop_foreign_key(world: World) -> list[Found]:
    world.conn.execute(f"ALTER TABLE {AUDIT} DROP CONSTRAINT fk_audit_transition")
    return [broken("missing object", f"constraint {AUDIT}.fk_audit_transition")]


@attack
def weaken_foreign_key(world: World) -> list[Found]:
    world.conn.execute(f"ALTER TABLE {AUDIT} DROP CONSTRAINT fk_audit_task")
    world.conn.execute(
        f"ALTER TABLE {AUDIT} ADD CONSTRAINT fk_audit_task FOREIGN KEY (task_uuid) "
        f"REFERENCES {HOST.tasks} NOT VALID".encode()
    )
    return [broken("altered object", f"constraint {AUDIT}.fk_audit_task")]


@attack
def change_default(world: World) -> list[Found]:
    world.conn.execute(f"ALTER TABLE {AUDIT} ALTER recorded_at SET DEFAULT '2000-01-01'")
    return [broken("altered object", f"default {AUDIT}.recorded_at")]


@attack
def drop_default(world: World) -> list[Found]:
    world.conn.execute(f"ALTER TABLE {AUDIT} ALTER recorded_xid SET DEFAULT 0")
    return [broken("altered object", f"default {AUDIT}.recorded_xid")]


@attack
def add_trigger(world: World) -> list[Found]:
    world.conn.execute(
        "CREATE FUNCTION improve() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.success := TRUE; RETURN NEW; END'"
    )
    world.conn.execute(
        f"CREATE TRIGGER improve BEFORE INSERT ON {AUDIT} FOR EACH ROW EXECUTE FUNCTION improve()"
    )
    return [broken("foreign object", f"trigger {AUDIT}.improve")]


@attack
def add_rule(world: World) -> list[Found]:
    world.conn.execute(
        f"CREATE RULE forget AS ON INSERT TO {AUDIT} WHERE NOT NEW.success DO INSTEAD NOTHING"
    )
    return [broken("foreign object", f"rule {AUDIT}.forget")]


def altered_function(name: str) -> Found:
    return broken("altered object", f"function {name}")


@attack
def replace_trigger_function(world: World) -> list[Found]:
    world.conn.execute(
        "CREATE OR REPLACE FUNCTION create_step_result_audit() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NULL; END'"
    )
    return [altered_function("create_step_result_audit")]


@attack
def replace_guard_function(world: World) -> list[Found]:
    world.conn.execute(
        "CREATE OR REPLACE FUNCTION reject_audit_change() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NULL; END'"
    )
    return [altered_function("reject_audit_change")]


@attack
def silence_status(world: World) -> list[Found]:
    """What tells status of the objects is made to find nothing, and a row is edited."""
    found = edit_success(world)
    replace_in_function(world, "list_step_audit_problems", ("\nBEGIN\n", "\nBEGIN\n    RETURN;\n"))
    return [altered_function("list_step_audit_problems"), *found]


@attack
def silence_machinery(world: World) -> list[Found]:
    """The function that knows of functions lies about another one."""
    replace_trigger_function(world)
    replace_in_function(
        world,
        "list_step_audit_objects",
        ("FROM pg_rewrite AS r\n", "FROM pg_rewrite AS r\n    -- all is well\n"),
    )
    return [
        altered_function("create_step_result_audit"),
        altered_function("list_step_audit_objects"),
    ]


@attack
def lie_about_a_leaf(world: World) -> list[Found]:
    """The canonical text of an altered record is made to be what it was, and noted as installed."""
    found = edit_payload(world)
    replace_in_function(
        world,
        "commit_step_audit_payload",
        ("p_payload),", "replace(p_payload, '\"payload\": -1}', '\"payload\": 1}')),"),
    )
    hide_in_files(world, "commit_step_audit_payload")
    return [altered_function("commit_step_audit_payload"), *found]


@attack
def divert_a_function(world: World) -> list[Found]:
    """Verification is made to look into another schema, and noted as installed so."""
    world.conn.execute("CREATE SCHEMA elsewhere")
    path = ", ".join(["elsewhere", *HOST.schemas])
    world.conn.execute(f"ALTER FUNCTION list_step_audit_leaves SET search_path = {path}".encode())
    hide_in_files(world, "list_step_audit_leaves")
    return [altered_function("list_step_audit_leaves")]


@attack
def disarm_a_function(world: World) -> list[Found]:
    world.conn.execute("ALTER FUNCTION create_step_result_audit SECURITY INVOKER")
    hide_in_files(world, "create_step_result_audit")
    return [altered_function("create_step_result_audit")]


@attack
def overload_a_function(world: World) -> list[Found]:
    """One that small numbers match better, and that finds nothing."""
    world.conn.execute(
        "CREATE FUNCTION check_step_audit_log_size(p_tree_size smallint) RETURNS void "
        "LANGUAGE sql AS ''"
    )
    return [broken("foreign object", "function check_step_audit_log_size(smallint)")]


@attack
def drop_function(world: World) -> list[Found]:
    world.conn.execute("DROP FUNCTION get_step_audit_proof")
    return [broken("missing object", "function get_step_audit_proof")]


@benign
def edit_ledger_of_a_function(world: World) -> list[Found]:
    """What a function should be is told by the release, and by no table."""
    world.conn.execute(
        "UPDATE step_audit_objects SET definition = 'x' "
        "WHERE object_name = 'function get_step_result'"
    )
    return []


@attack
def edit_files_release(world: World) -> list[Found]:
    """Then this release cannot tell what should be there."""
    world.conn.execute("UPDATE step_audit_files SET release = '99.0.0'")
    return [Found("refused", field="RefusedError")]
