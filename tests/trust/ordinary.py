"""Rows of the matrix that must be silent: what administrators and engines do every day.

And what is displayed, but no evidence.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.support.host import HOST
from tests.trust.attacks import AUDIT, LEAVES, SEALS, TRANSITIONS, benign, change_transition
from tests.trust.attacks_of_owner import SCHEMA, owners, run
from tests.trust.world import Found, World


@benign
@owners
def reindex(world: World) -> list[Found]:
    for table in (AUDIT, LEAVES, HOST.transitions):
        run(world, f"REINDEX TABLE {table}")
    return []


@benign
@owners
def cluster(world: World) -> list[Found]:
    run(
        world,
        f"CLUSTER {AUDIT} USING idx_audit_recorded_at",
        f"ALTER TABLE {LEAVES} SET WITHOUT CLUSTER",
    )
    return []


@benign
@owners
def analyze_and_storage(world: World) -> list[Found]:
    run(
        world,
        f"ANALYZE {AUDIT}",
        f"ALTER TABLE {AUDIT} SET (fillfactor = 90, autovacuum_enabled = off)",
        f"ALTER TABLE {AUDIT} ALTER COLUMN worker_uuid SET STATISTICS 500",
        f"ALTER TABLE {SEALS} REPLICA IDENTITY FULL",
    )
    return []


@benign
@owners
def another_plain_index(world: World) -> list[Found]:
    """A reader wants one."""
    run(
        world,
        f"CREATE INDEX by_time ON {AUDIT} (created_at)",
        f"CREATE STATISTICS {SCHEMA}.together ON success, backfilled FROM {AUDIT}",
    )
    return []


@benign
def publication(world: World) -> list[Found]:
    run(world, f"CREATE PUBLICATION all_of_it FOR TABLE {AUDIT}, {LEAVES}")
    return []


@benign
@owners
def migration_of_the_engine(world: World) -> list[Found]:
    """A column, an index with a condition, and a trigger of the engine's own."""
    run(
        world,
        f"ALTER TABLE {HOST.transitions} ADD COLUMN region text DEFAULT 'north'",
        f"CREATE INDEX recent ON {HOST.transitions} (created_at) WHERE region = 'north'",
        "CREATE FUNCTION notice() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        f"CREATE TRIGGER notice BEFORE INSERT ON {HOST.transitions} FOR EACH ROW "
        "EXECUTE FUNCTION notice()",
    )
    return []


@benign
@owners
def functions_of_the_engine(world: World) -> list[Found]:
    """An engine may have functions, types, aggregates and views beside ours."""
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.my_function(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        f"CREATE TYPE {SCHEMA}.color AS ENUM ('red')",
        f"CREATE VIEW {SCHEMA}.latest AS SELECT * FROM {AUDIT}",
        f"CREATE TABLE {SCHEMA}.notes (note text)",
    )
    return []


@benign
def step_name(world: World) -> list[Found]:
    """It is displayed, and nothing proves it."""
    run(world, "UPDATE tasker_named_steps SET name = name || ', renamed'")
    return []


@benign
def transitions_that_are_no_results(world: World) -> list[Found]:
    """So elapsed times are displayed, and not proved."""
    run(
        world,
        f"UPDATE {TRANSITIONS} SET created_at = created_at - interval '1 hour' "
        "WHERE to_state = 'in_progress'",
        f"DELETE FROM {HOST.transitions} WHERE to_state = 'pending'",
    )
    return []


@benign
def payload_before_its_seal(world: World) -> list[Found]:
    """Until it is sealed, only what the audit row holds is kept against a result."""
    record = next(each for each in world.unsealed if not each.anomalous)
    change_transition(world, record, "metadata = metadata || '{\"payload\": -1}'")
    return []


def setting(name: str, value: str) -> Callable[[World], list[Found]]:
    """A session that has one setting."""

    def deed(world: World) -> list[Found]:
        world.conn.execute("SELECT set_config(%s, %s, TRUE)", (name, value))
        return []

    deed.__name__ = f"{name}_{value}".replace("-", "minus_").replace(", ", "_").replace("/", "_")
    return benign(deed)


SETTINGS = [
    setting(name, value)
    for name, value in {
        "quote_all_identifiers": "on",
        "datestyle": "SQL, DMY",
        "timezone": "Asia/Kathmandu",
        "extra_float_digits": "-15",
        "bytea_output": "escape",
        "intervalstyle": "sql_standard",
        "standard_conforming_strings": "off",
        "constraint_exclusion": "on",
        "enable_seqscan": "off",
        "row_security": "on",
        "default_transaction_read_only": "on",
        "client_encoding": "LATIN1",
        "transform_null_equals": "on",
        "array_nulls": "off",
        "xmlbinary": "hex",
        "statement_timeout": "1h",
    }.items()
]
