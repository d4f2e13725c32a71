"""The rows of the matrix: engines of their own kind, each a small change of a base."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.support.host import LAYOUTS, STATES, Host

CLASSIC = LAYOUTS["classic"]
TASKER = LAYOUTS["tasker"]
BESIDE = replace(CLASSIC, audit_schema="step_audit", trigger="trg_step_audit")

# Roles of the server: who owns the engine's tables, none of them a superuser, and who writes them.
OWNER = "engine_owner"
SEEING_OWNER = "engine_seeing_owner"
WORKER = "engine_worker"


@dataclass(frozen=True)
class Engine:
    """An engine of the matrix.

    Attributes:
        name: its row.
        host: the base: tables and where step-audit stands.
        change: SQL that makes the base's tables this engine's.
        owner: the role that the tables belong to and that installs.
        options: what ``install`` is told beside the database.
        notes: what ``install`` tells of it.
        migration: what the engine does to its tables that is refused while attached.
        refused: why ``install`` refuses it, the remedy included; None where it is served. It may
            name ``{database}``.
        cure: SQL of the superuser that follows the remedy.
        since: the first major version of Postgres that has such a thing.
        owns_database: whether the owner owns the database and its schema public too.
        cascades: whether the engine deletes tasks alone, and the rest by its keys.
        copies: whether the engine's worker may use COPY.
        lacks_keys: whether the engine may write results of unknown steps.
    """

    name: str
    host: Host = CLASSIC
    change: str = ""
    owner: str = OWNER
    options: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    migration: str = field(
        default="ALTER TABLE tasker_workflow_step_transitions ALTER sort_key TYPE bigint",
        repr=False,
    )
    refused: str | None = None
    cure: str = ""
    since: int = 15
    owns_database: bool = True
    cascades: bool = False
    copies: bool = True
    lacks_keys: bool = False


def _partitioned(by: str, key: str, *partitions: str) -> str:
    """The transitions as a partitioned table."""
    each = "".join(
        f"CREATE TABLE transitions_{n} PARTITION OF tasker_workflow_step_transitions {bounds};"
        for n, bounds in enumerate(partitions)
    )
    return f"""
        ALTER TABLE tasker_workflow_step_transitions RENAME TO whole;
        CREATE TABLE tasker_workflow_step_transitions (
            LIKE whole INCLUDING DEFAULTS,
            PRIMARY KEY ({key}),
            FOREIGN KEY (workflow_step_uuid) REFERENCES tasker_workflow_steps
        ) PARTITION BY {by};
        {each}
        DROP TABLE whole;
    """


_FORCED = """
    ALTER TABLE tasker_workflow_step_transitions
    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY one_tenant ON tasker_workflow_step_transitions
    USING (current_setting('engine.tenant', TRUE) = 'acme');
"""
_TO_STEP = """
    ALTER TABLE tasker_workflow_step_transitions
    DROP CONSTRAINT tasker_workflow_step_transitions_workflow_step_uuid_fkey
"""
_IS_PARTITIONED = (
    "tasker_workflow_step_transitions is partitioned: a partition that is detached or dropped "
    "fires no trigger. Results whose partition is gone stay in the audit as references without "
    "their transition."
)
_NOT_UNIQUE = (
    "{0}.{1} is not kept unique, so that the audit declares no key to it. Where two rows have the "
    "same one, the audit may mean the other. To change that: ALTER TABLE {0} ADD UNIQUE ({1})."
)
_NO_KEY = (
    "{0}.{1} has no enforced and validated key to {2}. An audit row may name one that does not "
    "exist. To change that: ALTER TABLE {0} ADD FOREIGN KEY ({1}) REFERENCES {2}, or VALIDATE "
    "CONSTRAINT."
)

_ALL = [
    Engine("classic"),
    Engine(
        "today's Tasker",
        TASKER,
        migration="ALTER TABLE named_steps ALTER name TYPE text;",
    ),
    Engine("own schema", BESIDE, options=("--schema", "step_audit")),
    Engine(
        "odd schema name",
        replace(BESIDE, schema="The Engine's"),
        options=("--schema", "step_audit", "--engine-schema", "The Engine's"),
    ),
    Engine(
        "range partitions",
        change=_partitioned(
            "RANGE (created_at)",
            "workflow_step_transition_uuid, created_at",
            "FOR VALUES FROM (MINVALUE) TO ('2026-01-01')",
            "DEFAULT",
        ),
        notes=(_IS_PARTITIONED,),
    ),
    Engine(
        "hash partitions",
        change=_partitioned(
            "HASH (workflow_step_transition_uuid)",
            "workflow_step_transition_uuid",
            "FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            "FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        ),
        notes=(_IS_PARTITIONED,),
        migration="ALTER TABLE tasker_workflow_step_transitions ALTER to_state TYPE text",
    ),
    Engine(
        "enum states",
        change=f"""
            CREATE TYPE step_state AS ENUM ({", ".join(f"'{state}'" for state in STATES)});
            ALTER TABLE tasker_workflow_step_transitions
            ALTER from_state TYPE step_state USING from_state::text::step_state,
            ALTER to_state TYPE step_state USING to_state::text::step_state;
        """,
        migration="""
            ALTER TABLE tasker_workflow_step_transitions
            ALTER from_state TYPE text, ALTER to_state TYPE text
        """,
    ),
    Engine(
        "json metadata",
        change="ALTER TABLE tasker_workflow_step_transitions ALTER metadata TYPE json",
        migration="""
            ALTER TABLE tasker_workflow_step_transitions ALTER metadata TYPE jsonb USING
            CASE WHEN metadata::text !~ '\\\\u0000|\\\\ud[89a-f]' THEN metadata::text::jsonb END
        """,
    ),
    Engine(
        "timestamptz",
        change="""
            ALTER TABLE tasker_workflow_step_transitions
            ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC',
            ALTER updated_at TYPE timestamptz USING updated_at AT TIME ZONE 'UTC',
            ALTER created_at SET DEFAULT now(),
            ALTER updated_at SET DEFAULT now();
        """,
        migration="""
            ALTER TABLE tasker_workflow_step_transitions ALTER created_at DROP DEFAULT,
            ALTER created_at TYPE timestamp USING created_at AT TIME ZONE 'UTC',
            ALTER created_at SET DEFAULT now() AT TIME ZONE 'UTC'
        """,
    ),
    Engine(
        "row-level security",
        change=_FORCED
        + "ALTER TABLE tasker_workflow_step_transitions NO FORCE ROW LEVEL SECURITY;",
        copies=False,
    ),
    Engine("owner sees all rows", change=_FORCED, owner=SEEING_OWNER, copies=False),
    Engine(
        "stored metadata",
        replace(CLASSIC, metadata="payload"),
        change="""
            ALTER TABLE tasker_workflow_step_transitions DROP metadata, ADD payload jsonb;
            ALTER TABLE tasker_workflow_step_transitions
            ADD metadata jsonb GENERATED ALWAYS AS (payload) STORED;
        """,
        migration="""
            ALTER TABLE tasker_workflow_step_transitions DROP metadata;
            ALTER TABLE tasker_workflow_step_transitions
            ADD metadata jsonb GENERATED ALWAYS AS (coalesce(payload, '{}')) STORED
        """,
    ),
    Engine(
        "cascading keys",
        change=f"""
            {_TO_STEP}, ADD FOREIGN KEY (workflow_step_uuid) REFERENCES tasker_workflow_steps
            ON DELETE CASCADE;
            ALTER TABLE tasker_workflow_steps DROP CONSTRAINT tasker_workflow_steps_task_uuid_fkey,
            ADD FOREIGN KEY (task_uuid) REFERENCES tasker_tasks ON DELETE CASCADE;
        """,
        cascades=True,
    ),
    Engine(
        "no keys",
        change="""
            DO $$
            DECLARE
                v_key record;
            BEGIN
                FOR v_key IN
                    SELECT c.conrelid::regclass AS name, c.conname FROM pg_constraint AS c
                    WHERE c.connamespace = 'public'::regnamespace AND c.contype IN ('f', 'p', 'u')
                    ORDER BY c.contype
                LOOP
                    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', v_key.name, v_key.conname);
                END LOOP;
            END $$;
            ALTER TABLE tasker_workflow_step_transitions
            ALTER workflow_step_uuid DROP NOT NULL,
            ALTER workflow_step_transition_uuid DROP NOT NULL;
            ALTER TABLE tasker_workflow_steps ALTER task_uuid DROP NOT NULL;
        """,
        notes=(
            _NOT_UNIQUE.format("tasker_tasks", "task_uuid"),
            _NOT_UNIQUE.format("tasker_workflow_step_transitions", "workflow_step_transition_uuid"),
            _NO_KEY.format(
                "tasker_workflow_step_transitions", "workflow_step_uuid", "tasker_workflow_steps"
            ),
            _NO_KEY.format("tasker_workflow_steps", "task_uuid", "tasker_tasks"),
            _NOT_UNIQUE.format("tasker_workflow_steps", "workflow_step_uuid"),
        ),
        lacks_keys=True,
        migration="""
            CREATE TABLE more AS TABLE tasker_named_steps;
            DROP TABLE tasker_named_steps;
            ALTER TABLE more RENAME TO tasker_named_steps;
            ALTER TABLE tasker_named_steps ALTER named_step_uuid SET DEFAULT gen_random_uuid();
            GRANT SELECT, INSERT ON tasker_named_steps TO engine_worker
        """,
    ),
    Engine(
        "forced row security",
        change=_FORCED,
        refused="cannot attach: row-level security of tasker_workflow_step_transitions is forced, "
        f"so rows may be hidden from its owner, {OWNER}; nothing was changed. ALTER TABLE "
        "tasker_workflow_step_transitions NO FORCE ROW LEVEL SECURITY, or ALTER ROLE "
        f"{OWNER} BYPASSRLS.",
        cure="ALTER TABLE tasker_workflow_step_transitions NO FORCE ROW LEVEL SECURITY",
    ),
    Engine(
        "virtual metadata",
        replace(CLASSIC, metadata="payload"),
        change="""
            ALTER TABLE tasker_workflow_step_transitions DROP metadata, ADD payload jsonb;
            ALTER TABLE tasker_workflow_step_transitions
            ADD metadata jsonb GENERATED ALWAYS AS (payload) VIRTUAL;
        """,
        refused="cannot attach: column tasker_workflow_step_transitions.metadata is a virtual "
        "generated column, which a trigger does not see; nothing was changed. Make it a stored "
        "generated column, or a plain one.",
        cure="""
            ALTER TABLE tasker_workflow_step_transitions DROP metadata;
            ALTER TABLE tasker_workflow_step_transitions
            ADD metadata jsonb GENERATED ALWAYS AS (payload) STORED
        """,
        since=18,
    ),
    Engine(
        "swapped steps",
        # The engine writes both tables: a migration of its own that is under way.
        change=f"""
            CREATE TABLE new_steps (LIKE tasker_workflow_steps INCLUDING ALL);
            CREATE FUNCTION write_new_steps() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            AS 'BEGIN INSERT INTO new_steps VALUES (NEW.*); RETURN NEW; END';
            CREATE TRIGGER new_steps AFTER INSERT ON tasker_workflow_steps
            FOR EACH ROW EXECUTE FUNCTION write_new_steps();
            {_TO_STEP}, ADD FOREIGN KEY (workflow_step_uuid) REFERENCES new_steps;
        """,
        refused="cannot attach: the key of tasker_workflow_step_transitions.workflow_step_uuid "
        "points to new_steps, not to tasker_workflow_steps; nothing was changed. step-audit would "
        "read another table than the engine does: finish the engine's migration first.",
        cure="""
            ALTER TABLE tasker_workflow_steps RENAME TO old_steps;
            ALTER TABLE new_steps RENAME TO tasker_workflow_steps;
            DROP TRIGGER new_steps ON old_steps;
            ALTER TABLE tasker_workflow_steps ADD FOREIGN KEY (task_uuid) REFERENCES tasker_tasks;
            GRANT SELECT, INSERT ON tasker_workflow_steps TO engine_worker;
        """,
    ),
    Engine(
        "two owners",
        change=f"RESET ROLE; ALTER TABLE tasker_tasks OWNER TO {SEEING_OWNER}",
        refused=f"cannot attach: tasker_tasks belongs to {SEEING_OWNER}, "
        f"tasker_workflow_step_transitions to {OWNER}; nothing was changed. The audit reads them "
        "with the rights of one role: ALTER TABLE ... OWNER TO that role.",
        cure=f"ALTER TABLE tasker_tasks OWNER TO {OWNER}",
    ),
    Engine(
        "text metadata",
        change="ALTER TABLE tasker_workflow_step_transitions ALTER metadata TYPE text",
        refused="cannot attach: column tasker_workflow_step_transitions.metadata is of type text, "
        "which does not read as jsonb; nothing was changed. Run the engine's migrations first, or "
        "use the step-audit that knows this engine.",
        cure="""
            ALTER TABLE tasker_workflow_step_transitions ALTER metadata DROP DEFAULT,
            ALTER metadata TYPE jsonb USING metadata::jsonb
        """,
    ),
    Engine(
        "no updated_at",
        change="ALTER TABLE tasker_workflow_step_transitions RENAME updated_at TO changed_at",
        refused="cannot attach: tasker_workflow_step_transitions has no column updated_at; "
        "nothing was changed. Run the engine's migrations first, or use the step-audit that knows "
        "this engine.",
        cure="ALTER TABLE tasker_workflow_step_transitions RENAME changed_at TO updated_at",
    ),
    Engine(
        "no right to create",
        owns_database=False,
        refused=f"role {OWNER}, to whom the engine's tables belong, has no right to create in "
        f"schema public; nothing was changed. GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}.",
        cure=f"GRANT CREATE ON SCHEMA public TO {OWNER}",
    ),
    Engine(
        "no right to create a schema",
        TASKER,
        owns_database=False,
        refused=f"{OWNER} may not create schema step_audit in database {{database}}; nothing was "
        f"changed. Have it created, CREATE SCHEMA step_audit AUTHORIZATION {OWNER}, or GRANT "
        f"CREATE ON DATABASE {{database}} TO {OWNER}.",
        cure=f"""
            DO $$ BEGIN
                EXECUTE format('GRANT CREATE ON DATABASE %I TO {OWNER}', current_database());
            END $$
        """,
    ),
]
ENGINES = {engine.name: engine for engine in _ALL}
