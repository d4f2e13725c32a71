"""Rows of the matrix: what the owner of the tables, who is no superuser, does to what is looked at.

Some need all rights; they say so by ``superuser``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tests.support.host import FAILED, HOST
from tests.trust.attacks import (
    ANOMALIES,
    AUDIT,
    LEAVES,
    SALTS,
    SEALS,
    TRANSITIONS,
    altered,
    altered_function,
    attack,
    benign,
    broken,
    change,
    change_audit,
    edit_payload,
    extra,
    mismatch,
    without_a_leaf,
)
from tests.trust.world import AUDITOR, OWNER, Found, Record, World

SCHEMA = HOST.schemas[0]
ENGINE = "pg_monitor"
"""A role that is not the owner; the server's own, so that none is to be made."""

Deed = Callable[[World], Iterable[Found]]


def owners(deed: Deed) -> Deed:
    """Done with the rights of the tables' owner."""

    def done(world: World) -> Iterable[Found]:
        world.conn.execute(f"SET LOCAL ROLE {OWNER}".encode())
        found = list(deed(world))
        world.conn.execute("RESET ROLE")
        return found

    done.__name__ = deed.__name__
    return done


def run(world: World, *statements: str) -> None:
    """Execute statements."""
    for statement in statements:
        world.conn.execute(statement.encode())


# Functions: each attribute, of all functions of ours at once.

_ROUTINES = """
SELECT
    p.proname AS name,
    p.oid::regprocedure::text AS routine,
    p.prokind = 'p' AS is_procedure,
    p.provolatile::text AS volatility,
    p.proparallel::text AS parallel,
    p.prosecdef AS is_definer,
    p.proisstrict AS is_strict,
    p.proretset AS gives_rows,
    p.proconfig IS NOT NULL AS has_settings,
    l.lanname AS language,
    CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END AS definition,
    pg_get_function_arguments(p.oid) AS arguments,
    p.pronargs > p.pronargdefaults AS has_argument_without_default
FROM pg_proc AS p
JOIN pg_language AS l ON p.prolang = l.oid
WHERE p.pronamespace = %s::regnamespace AND p.proname = ANY(list_step_audit_function_names())
ORDER BY 2
"""


def alter_all(
    world: World, clause: Callable[[dict[str, object]], str | None], procedures: bool = True
) -> list[Found]:
    """Alter each routine of ours, for which ``clause`` gives one."""
    found = []
    for routine in world.conn.execute(_ROUTINES, (HOST.audit_schema,)).fetchall():
        if routine["is_procedure"] and not procedures:
            continue
        text = clause(routine)
        if text is not None:
            run(world, f"ALTER ROUTINE {routine['routine']} {text}")
            found.append(altered_function(routine["name"]))
    assert len(found) > 10
    # Of several of a name, one is named.
    return list(dict.fromkeys(found))


def replace_all(
    world: World, replace: Callable[[dict[str, str]], str], at_least: int = 10
) -> list[Found]:
    """Define each routine of ours anew, where ``replace`` gives another definition."""
    found = []
    run(world, "SET LOCAL check_function_bodies = off")
    for routine in world.conn.execute(_ROUTINES, (HOST.audit_schema,)).fetchall():
        text = replace(routine)
        if text != routine["definition"]:
            run(world, text)
            found.append(altered_function(routine["name"]))
    assert len(found) >= at_least
    return list(dict.fromkeys(found))


@attack
@owners
def functions_strict(world: World) -> list[Found]:
    """A strict function gives NULL, and one of rows gives none, where an argument is NULL."""
    clauses = {True: "CALLED ON NULL INPUT", False: "STRICT"}
    return alter_all(world, lambda each: clauses[bool(each["is_strict"])], procedures=False)


@attack
@owners
def functions_of_another_volatility(world: World) -> list[Found]:
    clauses = {"v": "STABLE", "s": "IMMUTABLE", "i": "VOLATILE"}
    return alter_all(world, lambda each: clauses[str(each["volatility"])], procedures=False)


@attack
@owners
def functions_of_another_parallel_safety(world: World) -> list[Found]:
    clauses = {"u": "PARALLEL SAFE", "s": "PARALLEL RESTRICTED", "r": "PARALLEL UNSAFE"}
    return alter_all(world, lambda each: clauses[str(each["parallel"])], procedures=False)


@attack
@owners
def functions_with_other_rights(world: World) -> list[Found]:
    clauses = {True: "SECURITY INVOKER", False: "SECURITY DEFINER"}
    # A procedure that commits can have no rights of its own, but be altered so.
    found = alter_all(world, lambda each: clauses[bool(each["is_definer"])])
    # Whoever may execute one then acts as the owner.
    names = world.conn.execute(
        "SELECT DISTINCT p.proname AS name FROM pg_proc AS p "
        "WHERE p.pronamespace = %s::regnamespace AND p.prosecdef AND EXISTS ("
        "SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS r "
        "WHERE r.grantee = 0)",
        (HOST.audit_schema,),
    ).fetchall()
    found += [
        broken("foreign object", f"right EXECUTE on {each['name']} of PUBLIC") for each in names
    ]
    return found


@attack
@owners
def functions_on_another_path(world: World) -> list[Found]:
    run(world, f"CREATE SCHEMA elsewhere AUTHORIZATION {OWNER}")
    return alter_all(world, lambda _: f"SET search_path = elsewhere, {SCHEMA}")


@attack
@owners
def functions_with_another_setting(world: World) -> list[Found]:
    return alter_all(world, lambda _: "SET work_mem = '64kB'")


@attack
@owners
def functions_without_settings(world: World) -> list[Found]:
    return alter_all(world, lambda each: "RESET ALL" if each["has_settings"] else None)


@attack
def functions_leakproof(world: World) -> list[Found]:
    """Only a superuser can."""
    return alter_all(world, lambda _: "LEAKPROOF", procedures=False)


@attack
def functions_of_another_owner(world: World) -> list[Found]:
    """The engine's role owns the trigger function, among others."""
    return alter_all(world, lambda _: f"OWNER TO {ENGINE}")


@attack
@owners
def functions_with_a_default(world: World) -> list[Found]:
    """A default on the last argument, so that a call with fewer finds it."""

    def replace(each: dict[str, str]) -> str:
        arguments = each["arguments"]
        last = arguments.rpartition(", ")[2]
        if not each["has_argument_without_default"] or "OUT " in arguments or " DEFAULT " in last:
            return each["definition"]
        return each["definition"].replace(f"({arguments})", f"({arguments} DEFAULT NULL)", 1)

    return replace_all(world, replace)


@attack
@owners
def functions_of_another_text(world: World) -> list[Found]:
    """By one space."""

    def replace(each: dict[str, str]) -> str:
        head, mark, tail = each["definition"].rpartition("\n$")
        return f"{head}\n {mark}{tail}"

    return replace_all(world, replace)


@attack
@owners
def functions_of_another_language(world: World) -> list[Found]:
    """The same text: an SQL function runs what PL/pgSQL would have said."""

    def replace(each: dict[str, str]) -> str:
        text = each["definition"]
        # An SQL function takes no row of any table.
        if " RETURNS trigger\n" in text or "p_old record" in text:
            return text
        return text.replace(" LANGUAGE plpgsql\n", " LANGUAGE sql\n", 1)

    return replace_all(world, replace)


@attack
@owners
def function_of_another_type(world: World) -> list[Found]:
    run(
        world,
        "DROP FUNCTION check_step_audit_log_size(bigint)",
        "CREATE FUNCTION check_step_audit_log_size(p_tree_size bigint) RETURNS text "
        "LANGUAGE plpgsql STABLE PARALLEL SAFE AS 'BEGIN RETURN NULL; END'",
    )
    return [altered_function("check_step_audit_log_size")]


@attack
@owners
def function_with_a_parsed_body(world: World) -> list[Found]:
    run(
        world,
        "CREATE OR REPLACE FUNCTION is_worker_result(p_to_state text) RETURNS boolean "
        "LANGUAGE sql IMMUTABLE PARALLEL SAFE BEGIN ATOMIC SELECT FALSE; END",
    )
    return [altered_function("is_worker_result")]


@benign
@owners
def functions_of_another_cost(world: World) -> list[Found]:
    """What a planner thinks of a function changes no evidence."""
    alter_all(world, lambda _: "COST 77", procedures=False)
    alter_all(world, lambda each: "ROWS 77" if each["gives_rows"] else None)
    return []


@benign
@owners
def functions_without_comments(world: World) -> list[Found]:
    """As ``pg_restore --no-comments`` leaves them."""
    for each in world.conn.execute(_ROUTINES, (HOST.audit_schema,)).fetchall():
        run(world, f"COMMENT ON ROUTINE {each['routine']} IS NULL")
    return []


# Names that stand in the way: the client runs none of them, and a record is edited.


def shadow(world: World, *named: str) -> list[Found]:
    """What is found beside an altered record."""
    world.conn.execute("RESET ROLE")
    return [*edit_payload(world), *(broken("foreign object", each) for each in named)]


@attack
@owners
def shadowing_function(world: World) -> list[Found]:
    """It says of the altered record what it was."""
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.convert_to(text, text) RETURNS bytea LANGUAGE sql IMMUTABLE "
        "AS $$ SELECT pg_catalog.convert_to(replace($1, '-1', '1'), 'UTF8'::name) $$",
    )
    return shadow(world, f"function {SCHEMA}.convert_to(text, text)")


@attack
@owners
def shadowing_aggregate(world: World) -> list[Found]:
    run(
        world,
        f"CREATE AGGREGATE {SCHEMA}.max(bigint) (SFUNC = int8larger, STYPE = bigint, "
        "INITCOND = '9')",
    )
    return shadow(world, f"function {SCHEMA}.max(bigint)")


@attack
@owners
def shadowing_operator(world: World) -> list[Found]:
    """All uuids are the same to it."""
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.same(uuid, uuid) RETURNS boolean LANGUAGE sql IMMUTABLE "
        "AS 'SELECT TRUE'",
        f"CREATE OPERATOR {SCHEMA}.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = {SCHEMA}.same)",
    )
    return shadow(world, f"operator {SCHEMA}.=(uuid, uuid)")


@attack
@owners
def shadowing_type(world: World) -> list[Found]:
    """An enumeration of the name jsonb, and its array type."""
    run(world, f"CREATE TYPE {SCHEMA}.jsonb AS ENUM ('true')")
    return shadow(world, f"type {SCHEMA}.jsonb", f"type {SCHEMA}._jsonb")


@attack
@owners
def shadows_in_a_schema_before(world: World) -> list[Found]:
    """On the session's path before all others, as a role's or database's setting has it."""
    run(
        world,
        f"CREATE SCHEMA shadows AUTHORIZATION {OWNER}",
        "CREATE FUNCTION shadows.convert_to(text, text) RETURNS bytea LANGUAGE sql "
        "AS 'SELECT NULL::bytea'",
        "CREATE FUNCTION shadows.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT TRUE'",
        "CREATE OPERATOR shadows.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = shadows.same)",
        f"CREATE TABLE shadows.{AUDIT} (LIKE {AUDIT})",
        f"CREATE TABLE shadows.{LEAVES} (LIKE {LEAVES})",
        f"CREATE VIEW shadows.{TRANSITIONS} AS SELECT * FROM {TRANSITIONS} WHERE FALSE",
    )
    found = shadow(world)
    run(world, f"SET LOCAL search_path = shadows, pg_catalog, {', '.join(HOST.schemas)}")
    return found


@attack
def shadows_in_pg_temp(world: World) -> list[Found]:
    """In the session itself, where they come first if the path does not say otherwise."""
    found = edit_payload(world)
    run(
        world,
        f"CREATE TEMPORARY TABLE {AUDIT} (LIKE {SCHEMA}.{AUDIT})",
        f"CREATE TEMPORARY TABLE {LEAVES} (LIKE {SCHEMA}.{LEAVES})",
        "CREATE TEMPORARY TABLE pg_class (LIKE pg_catalog.pg_class)",
        "CREATE TEMPORARY TABLE pg_proc (LIKE pg_catalog.pg_proc)",
        "CREATE TYPE pg_temp.jsonb AS ENUM ('true')",
        "CREATE FUNCTION pg_temp.convert_to(text, text) RETURNS bytea LANGUAGE sql "
        "AS 'SELECT NULL::bytea'",
    )
    return found


@attack
def cast_of_the_servers_types(world: World) -> list[Found]:
    """Only a superuser can: what jsonb looks like as text."""
    run(
        world,
        "CREATE FUNCTION liar(jsonb) RETURNS text LANGUAGE sql IMMUTABLE "
        "AS $$ SELECT '{}'::text $$",
        "CREATE CAST (jsonb AS text) WITH FUNCTION liar(jsonb) AS IMPLICIT",
    )
    return shadow(world, "cast (jsonb AS text)")


@attack
def function_in_pg_catalog(world: World) -> list[Found]:
    """Only a superuser can."""
    run(
        world,
        "SET LOCAL allow_system_table_mods = on",
        "CREATE FUNCTION pg_catalog.sha256(text) RETURNS bytea LANGUAGE sql "
        "AS 'SELECT NULL::bytea'",
    )
    return shadow(world, "function pg_catalog.sha256(text)")


@attack
def event_trigger(world: World) -> list[Found]:
    """Only a superuser can. Honest ones have some, so that it is not named; the record is."""
    run(
        world,
        "CREATE FUNCTION listen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER listen ON ddl_command_end EXECUTE FUNCTION listen()",
    )
    return shadow(world)


# What lies when a query is planned.


def lying_function(world: World) -> None:
    """It said FALSE when an index was built, and says TRUE now."""
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.lying(integer) RETURNS boolean LANGUAGE plpgsql "
        "IMMUTABLE COST 1 AS 'BEGIN RETURN FALSE; END'",
    )


def reveal(world: World) -> None:
    run(
        world,
        f"CREATE OR REPLACE FUNCTION {SCHEMA}.lying(integer) RETURNS boolean LANGUAGE plpgsql "
        "IMMUTABLE COST 1 AS 'BEGIN RETURN TRUE; END'",
    )


@attack
@owners
def lying_partial_index(world: World) -> list[Found]:
    """Empty, and the planner takes it for an index of all rows."""
    lying_function(world)
    run(
        world,
        f"CREATE INDEX lies ON {AUDIT} (workflow_step_result_audit_uuid) WHERE {SCHEMA}.lying(1)",
    )
    reveal(world)
    return shadow(world, f"index lies on {AUDIT}")


@attack
@owners
def lying_index_of_the_leaves(world: World) -> list[Found]:
    lying_function(world)
    run(world, f"CREATE INDEX lies ON {LEAVES} (leaf_index) WHERE {SCHEMA}.lying(1)")
    reveal(world)
    return shadow(world, f"index lies on {LEAVES}")


@attack
@owners
def index_of_an_expression(world: World) -> list[Found]:
    lying_function(world)
    run(world, f"CREATE INDEX lies ON {AUDIT} (({SCHEMA}.lying(1)))")
    return shadow(world, f"index lies on {AUDIT}")


@attack
@owners
def statistics_of_an_expression(world: World) -> list[Found]:
    lying_function(world)
    run(
        world,
        f"CREATE STATISTICS {SCHEMA}.lies ON ({SCHEMA}.lying(1)), success FROM {AUDIT}",
    )
    return shadow(world, f"statistics lies on {AUDIT}")


@attack
@owners
def check_that_excludes(world: World) -> list[Found]:
    """A condition that the planner believes."""
    lying_function(world)
    run(
        world,
        f"ALTER TABLE {AUDIT} ADD CONSTRAINT excludes CHECK ({SCHEMA}.lying(1)) NOT VALID",
        "SET LOCAL constraint_exclusion = on",
    )
    return shadow(world, f"constraint {AUDIT}.excludes")


@attack
@owners
def index_of_an_operator(world: World) -> list[Found]:
    """The function is reached through an operator."""
    lying_function(world)
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.lying_too(integer, integer) RETURNS boolean LANGUAGE plpgsql "
        "IMMUTABLE AS 'BEGIN RETURN TRUE; END'",
        f"CREATE OPERATOR {SCHEMA}.=== (LEFTARG = integer, RIGHTARG = integer, "
        f"FUNCTION = {SCHEMA}.lying_too)",
        f"CREATE INDEX lies_ccnew ON {LEAVES} (leaf_index) WHERE 1 OPERATOR({SCHEMA}.===) 1",
    )
    return shadow(
        world, f"index lies_ccnew on {LEAVES}", f"operator {SCHEMA}.===(integer, integer)"
    )


@benign
@owners
def index_of_the_engines_function(world: World) -> list[Found]:
    """Ordinary, for who has no rights to lose."""
    lying_function(world)
    run(world, f"CREATE INDEX lies ON {HOST.transitions} (({SCHEMA}.lying(1)))")
    return []


# Tables that look like ours.


@attack
@owners
def child_of_the_audit(world: World) -> list[Found]:
    """Its rows look like the audit's own."""
    run(
        world,
        f"CREATE TABLE child () INHERITS ({AUDIT})",
        f"INSERT INTO child SELECT * FROM ONLY {AUDIT} LIMIT 1",
    )
    return [broken("foreign object", f"child {SCHEMA}.child of {AUDIT}")]


@attack
@owners
def child_of_the_transitions(world: World) -> list[Found]:
    run(world, f"CREATE TABLE child () INHERITS ({HOST.transitions})")
    return [broken("foreign object", f"child {SCHEMA}.child of {TRANSITIONS}")]


@attack
@owners
def view_for_a_table(world: World) -> list[Found]:
    run(
        world,
        f"ALTER TABLE {ANOMALIES} RENAME TO hidden",
        f"CREATE VIEW {ANOMALIES} AS SELECT * FROM hidden",
    )
    return [Found("refused", field="RefusedError")]


@attack
@owners
def generated_column(world: World) -> list[Found]:
    run(
        world,
        f"ALTER TABLE {ANOMALIES} DROP COLUMN reason",
        f"ALTER TABLE {ANOMALIES} ADD COLUMN reason text GENERATED ALWAYS AS (field) STORED",
    )
    return [
        broken("altered object", f"column {ANOMALIES}.reason"),
        *(mismatch(each, "anomalies") for each in world.records if each.anomalous),
    ]


@attack
@owners
def column_of_an_own_type(world: World) -> list[Found]:
    run(
        world,
        f"CREATE DOMAIN {SCHEMA}.int8 AS pg_catalog.int8",
        f"ALTER TABLE {SALTS} ALTER COLUMN leaf_index TYPE {SCHEMA}.int8",
    )
    return [
        broken("altered object", f"column {SALTS}.leaf_index"),
        broken("foreign object", f"type {SCHEMA}.int8"),
        broken("foreign object", f"type {SCHEMA}._int8"),
    ]


@attack
@owners
def type_with_a_cast(world: World) -> list[Found]:
    """An implicit cast of the owner's: it is chosen where the column is compared."""
    run(
        world,
        f"CREATE TYPE {SCHEMA}.few AS ENUM ('1')",
        f"CREATE FUNCTION {SCHEMA}.as_number({SCHEMA}.few) RETURNS int8 LANGUAGE plpgsql "
        "IMMUTABLE AS 'BEGIN RETURN 1; END'",
        f"CREATE CAST ({SCHEMA}.few AS int8) WITH FUNCTION {SCHEMA}.as_number({SCHEMA}.few) "
        "AS IMPLICIT",
        f"CREATE FUNCTION {SCHEMA}.as_few(int8) RETURNS {SCHEMA}.few LANGUAGE sql IMMUTABLE "
        f"AS $$ SELECT '1'::{SCHEMA}.few $$",
        f"ALTER TABLE {SALTS} DROP CONSTRAINT pk_step_audit_salt",
        f"ALTER TABLE {SALTS} ALTER COLUMN leaf_index TYPE {SCHEMA}.few "
        f"USING {SCHEMA}.as_few(leaf_index)",
    )
    return [
        broken("altered object", f"column {SALTS}.leaf_index"),
        broken("missing object", f"constraint {SALTS}.pk_step_audit_salt"),
        # All of them are said to be of leaf 1.
        *(
            Found("missing salt", each.audit, field=f"leaf {each.index}")
            for each in world.sealed
            if each.index != 1
        ),
        *_with_the_salts_of_all(world, world.sealed[1]),
    ]


def _with_the_salts_of_all(world: World, record: Record) -> Iterator[Found]:
    """A record with each salt of the log, of which one is its own."""
    yield from [altered(record)] * (world.size - 1)
    yield broken("hidden record", f"audit rows of {AUDIT}")
    yield Found("doubled", record.audit, record.transition)


@attack
@owners
def key_of_a_function(world: World) -> list[Found]:
    """The default looks much like the one that is made before 18."""
    run(
        world,
        f"CREATE FUNCTION {SCHEMA}.mine() RETURNS text LANGUAGE sql AS "
        "'SELECT pg_catalog.gen_random_uuid()'",
        f"ALTER TABLE {AUDIT} ALTER workflow_step_result_audit_uuid SET DEFAULT "
        f"(left({SCHEMA}.mine(), 36) || left(gen_random_uuid()::text, 0))::uuid",
    )
    return [broken("altered object", f"default {AUDIT}.workflow_step_result_audit_uuid")]


@attack
@owners
def columns_that_are_counted(world: World) -> list[Found]:
    run(
        world,
        f"ALTER TABLE {LEAVES} ALTER leaf_index ADD GENERATED ALWAYS AS IDENTITY",
        f"ALTER TABLE {SALTS} ALTER leaf_index ADD GENERATED BY DEFAULT AS IDENTITY",
    )
    return [broken("altered object", f"column {each}.leaf_index") for each in (LEAVES, SALTS)]


@attack
@owners
def column_of_whole_seconds(world: World) -> list[Found]:
    """Those of the audit itself are what the view shows, and so are not to be altered."""
    run(world, "ALTER TABLE step_audit_files ALTER applied_at TYPE timestamp(0)")
    return [broken("altered object", "column step_audit_files.applied_at")]


@attack
@owners
def column_that_may_be_empty(world: World) -> list[Found]:
    run(world, f"ALTER TABLE {AUDIT} ALTER COLUMN task_uuid DROP NOT NULL")
    return [broken("altered object", f"column {AUDIT}.task_uuid")]


@attack
@owners
def another_column(world: World) -> list[Found]:
    run(world, f"ALTER TABLE {AUDIT} ADD COLUMN note text")
    return [broken("foreign object", f"column {AUDIT}.note")]


@attack
@owners
def row_security_of_the_audit(world: World) -> list[Found]:
    """What its policy hides, a verification by somebody else would not see."""
    run(
        world,
        f"CREATE POLICY few ON {AUDIT} USING (success)",
        f"ALTER TABLE {AUDIT} ENABLE ROW LEVEL SECURITY",
    )
    return [broken("altered object", f"table {AUDIT}")]


@benign
@owners
def row_security_of_the_transitions(world: World) -> list[Found]:
    """The engine's own, and it does not apply to an auditor with BYPASSRLS."""
    run(
        world,
        f"CREATE POLICY few ON {HOST.transitions} USING (FALSE)",
        f"ALTER TABLE {HOST.transitions} ENABLE ROW LEVEL SECURITY",
    )
    return []


@attack
@owners
def row_security_that_hides(world: World) -> list[Found]:
    """Who does not see all cannot verify."""
    row_security_of_the_transitions(world)
    run(world, "RESET ROLE", f"ALTER ROLE {AUDITOR} NOBYPASSRLS")
    return [Found("refused", field="RefusedError")]


@attack
@owners
def rule_for_updates(world: World) -> list[Found]:
    run(world, f"CREATE RULE keep AS ON DELETE TO {SALTS} DO INSTEAD NOTHING")
    return [broken("foreign object", f"rule {SALTS}.keep")]


@attack
@owners
def unlogged_seals(world: World) -> list[Found]:
    """A crash empties the table."""
    run(world, f"ALTER TABLE {SEALS} SET UNLOGGED")
    return [broken("altered object", f"table {SEALS}")]


@attack
@owners
def drop_unique_key(world: World) -> list[Found]:
    run(world, f"ALTER TABLE {LEAVES} DROP CONSTRAINT uq_step_audit_leaf_record")
    return [broken("missing object", f"constraint {LEAVES}.uq_step_audit_leaf_record")]


@attack
def disable_internal_triggers(world: World) -> list[Found]:
    """Those of keys that are enforced; only a superuser can."""
    world.conn.execute("SELECT attach_step_result_audit(p_enforce_keys => TRUE)")
    rows = world.conn.execute(
        "SELECT c.relname AS table, t.tgname AS name FROM pg_trigger AS t "
        "JOIN pg_class AS c ON t.tgrelid = c.oid "
        "WHERE t.tgisinternal AND c.relname = ANY(%s) AND c.relnamespace = %s::regnamespace",
        ([AUDIT, ANOMALIES, LEAVES, SALTS, SEALS], HOST.audit_schema),
    ).fetchall()
    assert rows
    for each in rows:
        run(world, f'ALTER TABLE {each["table"]} DISABLE TRIGGER "{each["name"]}"')
    return [broken("altered object", f"trigger {each['table']}.{each['name']}") for each in rows]


# Rights.


@attack
@owners
def grant_all_to_the_engine(world: World) -> list[Found]:
    run(world, f"GRANT ALL ON {AUDIT} TO {ENGINE}")
    rights = ["INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
    if world.conn.info.server_version >= 170000:
        rights.append("MAINTAIN")
    return [broken("foreign object", f"right {each} on {AUDIT} of {ENGINE}") for each in rights]


@attack
@owners
def grant_a_column_to_all(world: World) -> list[Found]:
    run(world, f"GRANT UPDATE (success) ON {AUDIT} TO PUBLIC")
    return [broken("foreign object", f"right UPDATE (success) on {AUDIT} of PUBLIC")]


@attack
@owners
def grant_the_trigger_function(world: World) -> list[Found]:
    """Who may run it can put it on a table of his own, and forge."""
    run(world, f"GRANT EXECUTE ON FUNCTION create_step_result_audit() TO {ENGINE}")
    return [broken("foreign object", f"right EXECUTE on create_step_result_audit of {ENGINE}")]


@attack
@owners
def grant_sealing_to_all(world: World) -> list[Found]:
    run(world, "GRANT EXECUTE ON FUNCTION seal_step_result_audit(bigint) TO PUBLIC")
    return [broken("foreign object", "right EXECUTE on seal_step_result_audit of PUBLIC")]


@attack
def grant_the_setting_that_silences_triggers(world: World) -> list[Found]:
    run(world, f"GRANT SET ON PARAMETER session_replication_role TO {ENGINE}")
    return [broken("foreign object", f"right SET on session_replication_role of {ENGINE}")]


@attack
def give_the_seals_to_the_engine(world: World) -> list[Found]:
    run(world, f"ALTER TABLE {SEALS} OWNER TO {ENGINE}")
    return [broken("altered object", f"table {SEALS}")]


@benign
@owners
def grant_reading(world: World) -> list[Found]:
    run(world, f"GRANT SELECT ON {AUDIT}, {ANOMALIES}, {SEALS} TO {ENGINE}")
    return []


# Records and log.


@attack
def twins_of_failures(world: World) -> list[Found]:
    """Without the engine's key, a copy of each failed result that says it was completed."""
    keys = world.conn.execute(
        "SELECT conname AS name FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'",
        (HOST.transitions,),
    ).fetchall()
    ours = world.conn.execute(
        "SELECT FROM pg_constraint "
        "WHERE conname = 'fk_audit_transition' AND conrelid = %s::regclass",
        (AUDIT,),
    ).fetchall()

    @owners
    def forge(world: World) -> list[Found]:
        for key in keys:
            run(world, f"ALTER TABLE {HOST.transitions} DROP CONSTRAINT {key['name']} CASCADE")
        twins = world.conn.execute(
            f"INSERT INTO {HOST.transitions} ({HOST.columns}, created_at) "
            "SELECT workflow_step_transition_uuid, workflow_step_uuid, from_state, 'complete', "
            '\'{"note": "forged"}\', sort_key + 5000000, FALSE, created_at '
            f"FROM {HOST.transitions} WHERE to_state = %s "
            "RETURNING workflow_step_transition_uuid AS key".encode(),
            (FAILED,),
        ).fetchall()
        return [Found("doubled", transition=twin["key"]) for twin in twins]

    found = list(forge(world))
    assert len(found) > 10
    lost = [broken("missing object", f"constraint {AUDIT}.fk_audit_transition") for _ in ours]
    return [*found, *lost]


@attack
def edit_recorded_by(world: World) -> list[Found]:
    record = world.plain[2]
    change_audit(world, record, "recorded_by = 'somebody else'")
    return [altered(record)]


@attack
def edit_task(world: World) -> list[Found]:
    record = world.plain[3]
    change_audit(world, record, "task_uuid = gen_random_uuid()")
    return [altered(record), mismatch(record, "task_uuid")]


@attack
def edit_step(world: World) -> list[Found]:
    """To another step that there is: no result of that step has such a transition."""
    record = world.plain[4]
    other = next(each for each in world.plain if each.step != record.step)
    change_audit(world, record, f"workflow_step_uuid = '{other.step}'")
    return [
        altered(record),
        extra(record.audit, record.transition),
        Found("missing", transition=record.transition),
    ]


@attack
def edit_salt(world: World) -> list[Found]:
    record = world.plain[5]
    change(
        world,
        f"UPDATE {SALTS} SET salt = uuid_send(gen_random_uuid()) WHERE leaf_index = %s",
        record.index,
    )
    return [altered(record)]


@attack
def delete_salt(world: World) -> list[Found]:
    """Without an erasure that accounts for it."""
    record = world.plain[6]
    change(world, f"DELETE FROM {SALTS} WHERE leaf_index = %s", record.index)
    return [Found("missing salt", record.audit, field=f"leaf {record.index}")]


@attack
def edit_kind(world: World) -> list[Found]:
    """As if the result could not be printed, whose leaf then says little of it."""
    record = world.plain[7]
    change(
        world,
        f"UPDATE {LEAVES} SET kind = 'unprintable result' WHERE leaf_index = %s",
        record.index,
    )
    return [altered(record)]


@attack
def edit_kind_to_none(world: World) -> list[Found]:
    """A kind that this release knows nothing of."""
    record = world.plain[8]
    change(world, f"UPDATE {LEAVES} SET kind = 'result 3' WHERE leaf_index = %s", record.index)
    return [altered(record)]


@attack
def edit_kind_to_event(world: World) -> list[Found]:
    """A result is looked for among the events, and is none."""
    record = world.plain[8]
    change(world, f"UPDATE {LEAVES} SET kind = 'event' WHERE leaf_index = %s", record.index)
    return [
        broken("deleted record", f"leaf {record.index}, event {record.audit}"),
        broken("hidden record", f"audit rows of {AUDIT}"),
    ]


@attack
def seal_without_end(world: World) -> list[Found]:
    """A seal of more leaves than any log has."""
    change(
        world,
        f"INSERT INTO {SEALS} (tree_size, covered, place, waiting) "
        f"SELECT 2::bigint ^ 40, covered, place, waiting FROM {SEALS} WHERE tree_size = %s",
        world.size,
    )
    return [Found("missing leaf", field=f"leaves {world.size} to {2**40 - 1}")]


@attack
def seal_with_a_leaf_far_away(world: World) -> list[Found]:
    """With a leaf at its end too, so that the log does not end before."""
    change(
        world,
        f"INSERT INTO {SEALS} (tree_size, covered, place, waiting) "
        f"SELECT 2::bigint ^ 40, covered, place, waiting FROM {SEALS} WHERE tree_size = %s",
        world.size,
    )
    record = world.unsealed[0]
    change(
        world,
        f"INSERT INTO {LEAVES} VALUES (2::bigint ^ 40 - 1, 'result', %s, sha256('x'))",
        record.audit,
    )
    return [
        Found("missing leaf", field=f"leaves {world.size} to {2**40 - 1}"),
        Found("unsealed leaf", record.audit, field=f"leaf {2**40 - 1}"),
    ]


@attack
def negative_seal(world: World) -> list[Found]:
    change(world, f"INSERT INTO {SEALS} (tree_size) VALUES (-1)")
    return [Found("altered log", field="seal of -1 leaves")]


@attack
def edit_leaf_record(world: World) -> list[Found]:
    """A leaf is given to a record that is not sealed."""
    record, other = world.plain[9], world.unsealed[0]
    change(
        world,
        f"UPDATE {LEAVES} SET record_uuid = %s WHERE leaf_index = %s",
        other.audit,
        record.index,
    )
    return [
        Found("altered record", other.audit, field=f"leaf {record.index}"),
        *without_a_leaf(world, record),
    ]
