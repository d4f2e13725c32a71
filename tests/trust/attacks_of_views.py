"""Rows of the matrix: views that show something else than what is stored.

All are done by the owner of the tables, who needs no more to make a view anew.
"""

from __future__ import annotations

import re

from tests.support.host import HOST
from tests.trust.attacks import AUDIT, TRANSITIONS, attack, benign, broken
from tests.trust.attacks_of_owner import SCHEMA, owners, run
from tests.trust.world import Found, World

VIEW = "step_audits"
ALTERED = broken("altered object", f"view {VIEW}")
TABLES = ("tasker_tasks", "tasker_workflow_steps", "tasker_named_steps", TRANSITIONS)
IS_SHOWN = HOST.audit_schema != HOST.schema
"""Whether the engine's tables are shown by views."""

INVOKER = "WITH (security_invoker = true)"


def definition(world: World, view: str = VIEW) -> str:
    (row,) = world.conn.execute("SELECT pg_get_viewdef(%s::regclass) AS text", (view,)).fetchall()
    return str(row["text"])


def redefine(world: World, old: str, new: str, view: str = VIEW) -> None:
    """Make a view anew, with something else in the place of what stands there once."""
    text = definition(world, view)
    assert len(re.findall(old, text)) == 1, text
    text = re.sub(old, lambda _: new, text)
    run(world, f"CREATE OR REPLACE VIEW {view} {INVOKER} AS {text}")


@attack
@owners
def column_negated(world: World) -> list[Found]:
    redefine(world, r"a\.success", "NOT a.success AS success")
    return [ALTERED]


@attack
@owners
def columns_swapped(world: World) -> list[Found]:
    redefine(
        world,
        r"a\.created_at,\s+a\.updated_at",
        "a.updated_at AS created_at, a.created_at AS updated_at",
    )
    return [ALTERED]


@attack
@owners
def names_of_columns_swapped(world: World) -> list[Found]:
    for old, new in (("success", "x"), ("backfilled", "success"), ("x", "backfilled")):
        run(world, f"ALTER VIEW {VIEW} RENAME COLUMN {old} TO {new}")
    return [ALTERED]


@attack
@owners
def column_of_another_table(world: World) -> list[Found]:
    redefine(world, r"a\.task_uuid", "s.task_uuid")
    return [ALTERED]


@attack
@owners
def column_of_a_constant(world: World) -> list[Found]:
    redefine(world, r"a\.worker_uuid", "NULL::uuid AS worker_uuid")
    return [ALTERED]


@attack
@owners
def column_added(world: World) -> list[Found]:
    redefine(world, r" AS deleted", " AS deleted, 1 AS more")
    return [ALTERED]


@attack
@owners
def column_cast(world: World) -> list[Found]:
    redefine(world, r"a\.success", "((a.success)::text)::boolean AS success")
    return [ALTERED]


@attack
@owners
def rows_left_out(world: World) -> list[Found]:
    redefine(world, r";$", " WHERE a.success")
    return [ALTERED]


@attack
@owners
def rows_limited(world: World) -> list[Found]:
    redefine(world, r";$", " LIMIT 5")
    return [ALTERED]


@attack
@owners
def rows_of_a_condition_on_the_join(world: World) -> list[Found]:
    redefine(world, r"\(s\.named_step_uuid = n\.named_step_uuid\)", "n.name = 'x'")
    return [ALTERED]


@attack
@owners
def rows_of_an_inner_join(world: World) -> list[Found]:
    redefine(world, r"LEFT JOIN (?=tasker_workflow_step_transitions)", "JOIN ")
    return [ALTERED]


@attack
@owners
def rows_of_an_operator_turned(world: World) -> list[Found]:
    redefine(world, r"p\.sort_key < COALESCE", "p.sort_key <= COALESCE")
    return [ALTERED]


@attack
@owners
def literal_in_upper_case(world: World) -> list[Found]:
    redefine(world, r"'in_progress'", "'IN_PROGRESS'")
    return [ALTERED]


@attack
@owners
def rows_of_another_table(world: World) -> list[Found]:
    run(world, f"CREATE TABLE forged AS TABLE {AUDIT}")
    redefine(world, rf"\b{AUDIT} a", "forged a")
    return [ALTERED]


@attack
@owners
def function_of_the_owner(world: World) -> list[Found]:
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.mine(text) RETURNS text LANGUAGE sql AS 'SELECT ''x'''",
    )
    redefine(world, r"a\.recorded_by", f"{SCHEMA}.mine(a.recorded_by) AS recorded_by")
    return [ALTERED]


@attack
@owners
def function_of_the_name_of_one_of_the_server(world: World) -> list[Found]:
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.isfinite(timestamp) RETURNS boolean LANGUAGE sql "
        "AS 'SELECT FALSE'",
    )
    old, new = r"isfinite\(get_utc_time\(started", f"{SCHEMA}.isfinite(get_utc_time(started"
    redefine(world, old, new)
    shadow = f"function {SCHEMA}.isfinite(timestamp without time zone)"
    return [ALTERED, broken("foreign object", shadow)]


@attack
@owners
def operator_of_the_owner(world: World) -> list[Found]:
    run(
        world,
        f"CREATE OPERATOR {SCHEMA}.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_ne)",
    )
    old, new = r"\(s\.named_step_uuid = n", f"(s.named_step_uuid OPERATOR({SCHEMA}.=) n"
    redefine(world, old, new)
    return [ALTERED, broken("foreign object", f"operator {SCHEMA}.=(uuid, uuid)")]


@attack
@owners
def rights_of_the_owner(world: World) -> list[Found]:
    run(world, f"ALTER VIEW {VIEW} RESET (security_invoker)")
    return [ALTERED]


@attack
@owners
def view_dropped(world: World) -> list[Found]:
    run(world, f"DROP VIEW {VIEW}")
    return [broken("missing object", f"view {VIEW}")]


@attack
@owners
def view_that_is_a_table(world: World) -> list[Found]:
    run(
        world,
        f"CREATE TABLE kept AS TABLE {VIEW}",
        f"DROP VIEW {VIEW}",
        f"ALTER TABLE kept RENAME TO {VIEW}",
    )
    return [ALTERED]


@benign
@owners
def view_made_anew(world: World) -> list[Found]:
    """As a restore makes it, with a comment and a reader of its own."""
    text = definition(world)
    run(
        world,
        f"DROP VIEW {VIEW}",
        f"CREATE VIEW {VIEW} {INVOKER} AS {text}",
        f"COMMENT ON VIEW {VIEW} IS 'Results.'",
        f"GRANT SELECT ON {VIEW} TO pg_monitor",
    )
    return []


@benign
@owners
def edit_ledger_of_the_view(world: World) -> list[Found]:
    """What it shows is told by the release, and by no table."""
    run(
        world,
        f"UPDATE step_audit_objects SET definition = 'x' WHERE object_name = 'view {VIEW}'",
    )
    return []


# The engine's tables, by the names that step-audit reads.

if IS_SHOWN:
    ALL = [broken("altered object", f"view {table}") for table in TABLES]

    @attack
    @owners
    def host_rows_left_out(world: World) -> list[Found]:
        for table in TABLES:
            redefine(world, r";$", " WHERE TRUE", table)
        return ALL

    @attack
    @owners
    def host_column_swapped(world: World) -> list[Found]:
        redefine(
            world,
            r"\bfrom_state,\s+(\w+\.)?to_state",
            "to_state AS from_state, from_state AS to_state",
            TRANSITIONS,
        )
        return [broken("altered object", f"view {TRANSITIONS}")]

    @attack
    @owners
    def host_column_of_a_function(world: World) -> list[Found]:
        run(
            world,
            f"CREATE FUNCTION {SCHEMA}.mine(varchar) RETURNS varchar LANGUAGE sql "
            "AS 'SELECT ''x''::varchar'",
        )
        redefine(
            world,
            r"\b(named_steps\.)?name(?=\s)",
            f"{SCHEMA}.mine(name)::varchar(128) AS name",
            "tasker_named_steps",
        )
        return [broken("altered object", "view tasker_named_steps")]

    @attack
    @owners
    def host_rights_of_the_owner(world: World) -> list[Found]:
        for table in TABLES:
            run(world, f"ALTER VIEW {table} RESET (security_invoker)")
        return ALL

    @attack
    @owners
    def host_of_another_schema(world: World) -> list[Found]:
        run(world, f"CREATE TABLE {SCHEMA}.named_steps AS TABLE {HOST.named_steps}")
        redefine(world, rf"FROM {HOST.named_steps}", f"FROM {SCHEMA}.named_steps", TABLES[2])
        return [broken("altered object", f"view {TABLES[2]}")]

    @attack
    @owners
    def host_rule(world: World) -> list[Found]:
        rule = f"CREATE RULE deaf AS ON INSERT TO {TRANSITIONS} DO INSTEAD NOTHING"
        run(world, rule)
        return [broken("foreign object", f"rule deaf on view {TRANSITIONS}")]

    @attack
    @owners
    def host_trigger(world: World) -> list[Found]:
        run(
            world,
            f"CREATE FUNCTION {SCHEMA}.deaf() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NULL; END'",
            f"CREATE TRIGGER deaf INSTEAD OF INSERT ON {TRANSITIONS} "
            f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.deaf()",
        )
        return [broken("foreign object", f"trigger deaf on view {TRANSITIONS}")]

    @attack
    @owners
    def edit_ledger_of_the_host(world: World) -> list[Found]:
        """Only the ledger tells which engine was chosen."""
        run(
            world,
            "UPDATE step_audit_objects SET definition = 'a; b; of c' "
            f"WHERE object_name = 'view {TRANSITIONS}'",
        )
        return [broken("altered object", f"view {TRANSITIONS}")]

    @attack
    @owners
    def host_renamed(world: World) -> list[Found]:
        """The views follow."""
        run(world, f"ALTER TABLE {HOST.named_steps} RENAME TO hidden")
        run(world, f"CREATE TABLE {HOST.named_steps} AS TABLE {HOST.schema}.hidden")
        return [broken("altered object", f"view {TABLES[2]}")]

else:

    def hide(world: World, table: str, condition: str, hidden: str = "hidden") -> list[Found]:
        """A view with the name of a table, which goes by another; our view follows the table."""
        run(
            world,
            f"ALTER TABLE {table} RENAME TO {hidden}",
            f"CREATE VIEW {table} {INVOKER} AS SELECT * FROM {hidden} {condition}",
        )
        return [broken("altered object", f"view {table}")]

    @attack
    @owners
    def host_tasks_hidden(world: World) -> list[Found]:
        return hide(world, TABLES[0], "WHERE FALSE")

    @attack
    @owners
    def host_steps_hidden(world: World) -> list[Found]:
        return [ALTERED, *hide(world, TABLES[1], "WHERE FALSE")]

    @attack
    @owners
    def host_named_steps_hidden(world: World) -> list[Found]:
        return [ALTERED, *hide(world, TABLES[2], "")]

    @attack
    @owners
    def host_transitions_hidden(world: World) -> list[Found]:
        return [ALTERED, *hide(world, TRANSITIONS, "WHERE most_recent")]

    @attack
    @owners
    def host_transitions_shown_as_today(world: World) -> list[Found]:
        """One view as the other layout has it, though the attach chose the tables."""
        return [
            ALTERED,
            *hide(world, TRANSITIONS, "", "workflow_step_transitions"),
            *(broken("altered object", f"view {table}") for table in TABLES[:3]),
        ]
