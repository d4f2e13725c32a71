"""The rows of the matrix that are of changes: what keeps them, and what was kept."""

from __future__ import annotations

from tests.support.host import HOST
from tests.trust.attacks import (
    CHANGES,
    EVENTS,
    TRANSITIONS,
    attack,
    benign,
    broken,
    missing,
    unguarded,
)
from tests.trust.world import Found, World

STEPS = "tasker_workflow_steps"
CHANGE, TRUNCATE = "trg_step_audit_change", "trg_step_audit_truncate"
DELETED = "trg_step_audit_deleted"


def run(world: World, statement: str) -> None:
    world.conn.execute(statement.encode())


@attack
def disable_change_trigger(world: World) -> list[Found]:
    run(world, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {CHANGE}")
    return [broken("altered object", f"trigger {TRANSITIONS}.{CHANGE}")]


@attack
def drop_deleted_trigger(world: World) -> list[Found]:
    run(world, f"DROP TRIGGER {DELETED} ON {HOST.steps}")
    return [broken("missing object", f"trigger {STEPS}.{DELETED}")]


@attack
def truncate_trigger_for_replicas(world: World) -> list[Found]:
    run(world, f"ALTER TABLE {HOST.transitions} ENABLE REPLICA TRIGGER {TRUNCATE}")
    return [broken("altered object", f"trigger {TRANSITIONS}.{TRUNCATE}")]


@attack
def change_trigger_of_fewer_columns(world: World) -> list[Found]:
    """It would not see a change of metadata."""
    run(world, f"DROP TRIGGER {CHANGE} ON {HOST.transitions}")
    run(
        world,
        f"CREATE TRIGGER {CHANGE} AFTER DELETE OR UPDATE OF to_state ON {HOST.transitions} "
        "FOR EACH ROW EXECUTE FUNCTION record_step_audit_change()",
    )
    return [broken("altered object", f"trigger {TRANSITIONS}.{CHANGE}")]


@attack
def truncate_trigger_of_another_table(world: World) -> list[Found]:
    """It would keep the transitions as if they were steps."""
    run(world, f"DROP TRIGGER {TRUNCATE} ON {HOST.steps}")
    run(
        world,
        f"CREATE TRIGGER {TRUNCATE} BEFORE TRUNCATE ON {HOST.steps} FOR EACH STATEMENT "
        "EXECUTE FUNCTION record_step_audit_truncate('transitions')",
    )
    return [broken("altered object", f"trigger {STEPS}.{TRUNCATE}")]


@attack
def forge_change(world: World) -> list[Found]:
    """A version of a result that never was, under a transaction that was sealed."""
    (change,) = world.conn.execute(
        f"INSERT INTO {CHANGES} (operation, to_state, workflow_step_transition_uuid, "
        "workflow_step_uuid, recorded_xid) VALUES ('delete', 'enqueued_for_orchestration', "
        "gen_random_uuid(), gen_random_uuid(), 3) "
        "RETURNING step_audit_change_uuid AS key, workflow_step_transition_uuid AS transition"
    ).fetchall()
    field = f"change {change['key']} of transaction 3"
    return [missing(change["transition"]), broken("inserted record", field)]


@attack
def forge_event(world: World) -> list[Found]:
    (event,) = world.conn.execute(
        f"INSERT INTO {EVENTS} (kind, recorded_xid) VALUES ('result came again', 3) "
        "RETURNING step_audit_event_uuid AS key"
    ).fetchall()
    return [broken("inserted record", f"event {event['key']} of transaction 3")]


@benign
def update_of_a_result(world: World) -> list[Found]:
    """What the engine does under our trigger is kept, and no finding."""
    run(world, f"UPDATE {HOST.transitions} SET from_state = 'pending'")
    return []


@benign
def delete_of_all_results(world: World) -> list[Found]:
    with unguarded(world.conn):
        for table in HOST.own_audit:
            run(world, f"DELETE FROM {table}")
    run(world, f"DELETE FROM {HOST.transitions} WHERE to_state::text LIKE 'enqueued%orchestration'")
    return []
