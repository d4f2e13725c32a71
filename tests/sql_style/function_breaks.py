"""Deliberate edits of the files of functions/, each with all that the rules must say of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from step_audit.setup.sources import Sources

_PINNED = "SET search_path FROM CURRENT\n"
_SECOND_SIGNATURE = """
CREATE OR REPLACE FUNCTION read_step_result(
    p_to_state text,
    p_metadata json,
    OUT worker_uuid uuid,
    OUT correlation_id uuid,
    OUT success boolean,
    OUT execution_time_ms bigint,
    OUT anomalies jsonb
)
LANGUAGE plpgsql
"""


@dataclass(frozen=True)
class Break:
    """An edit of one file, ``old`` to ``new`` where it first stands, and the faults it brings."""

    stem: str
    old: str
    new: str
    faults: tuple[str, ...]

    @property
    def rules(self) -> set[str]:
        """Names of the rules that find it."""
        return {fault.partition(":")[0] for fault in self.faults}

    def apply(self, sources: Sources) -> Sources:
        """The sources with the edit."""
        broken = tuple(
            replace(file, text=file.text.replace(self.old, self.new, 1))
            if PurePosixPath(file.path).stem == self.stem
            else file
            for file in sources.files
        )
        assert broken != sources.files, f"{self.old!r} does not stand in {self.stem}.sql"
        return replace(sources, files=broken)


def edit(stem: str, old: str, new: str, *faults: str) -> Break:
    """The break that brings these faults, none where it is allowed."""
    return Break(stem, old, new, faults)


_FILES = [
    edit("is_worker_result", "inlines it;", "inlines it…", "ascii_text: has '…'"),
    edit(
        "is_worker_result",
        "COMMENT ON",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT "
        "AS 'SELECT 1'; COMMENT ON",
        "one_name_per_file: creates f, not is_worker_result",
        "one_name_per_file: does not say OR REPLACE",
        "one_name_per_file: has no one comment on f() in its place",
    ),
    # of two signatures, each has its comment, in its place
    edit(
        "read_step_result",
        "COMMENT ON FUNCTION read_step_result(text, jsonb)",
        "COMMENT ON FUNCTION read_step_result(text, json)",
        "one_name_per_file: has no one comment on read_step_result(text, jsonb) in its place",
    ),
    edit(
        "get_step_result",
        "COMMENT ON FUNCTION get_step_result(jsonb, uuid) IS",
        "SELECT",
        "one_name_per_file: has no one comment on get_step_result(jsonb, uuid) in its place",
        "one_name_per_file: has no one comment on get_step_result(pg_catalog.json, uuid) "
        "in its place",
        "one_name_per_file: holds a SelectStmt that is not about get_step_result",
    ),
    edit(
        "is_worker_result",
        "COMMENT ON",
        "COMMENT ON FUNCTION is_worker_result(text) IS 'once'; COMMENT ON",
        "one_name_per_file: has more comments than routines",
    ),
    edit(
        "is_worker_result",
        "CREATE OR REPLACE FUNCTION is_worker_result",
        "CREATE OR REPLACE FUNCTION is_result",
        "one_name_per_file: creates is_result, not is_worker_result",
        "one_name_per_file: has no one comment on is_result(text) in its place",
        "pinned_search_path: does not pin its search_path",
    ),
    edit(
        "is_worker_result",
        "CREATE OR REPLACE",
        "CREATE",
        "one_name_per_file: does not say OR REPLACE",
    ),
    edit(
        "list_step_audits",
        "timestamp, bigint, uuid, integer\n)",
        "timestamp, bigint, uuid, bigint\n)",
        "one_name_per_file: has no one comment on list_step_audits(uuid, uuid, uuid, uuid, "
        "uuid, text, boolean, boolean, boolean, boolean, timestamptz, timestamptz, bigint, "
        "bigint, timestamp, bigint, uuid, integer) in its place",
    ),
    edit(
        "is_worker_result",
        "COMMENT ON FUNCTION is_worker_result(text) IS",
        "SELECT",
        "one_name_per_file: has no one comment on is_worker_result(text) in its place",
        "one_name_per_file: holds a SelectStmt that is not about is_worker_result",
    ),
    edit(
        "is_worker_result",
        "COMMENT ON",
        "GRANT EXECUTE ON FUNCTION read_step_result(text, jsonb) TO public; COMMENT ON",
        "one_name_per_file: holds a GrantStmt that is not about is_worker_result",
    ),
    edit(
        "is_worker_result",
        "CREATE OR",
        "DROP FUNCTION is_worker_result(varchar); CREATE OR",
        "one_name_per_file: drops something else than an old is_worker_result IF EXISTS",
    ),
    edit("is_worker_result", "CREATE OR", "DROP FUNCTION IF EXISTS is_worker_result; CREATE OR"),
    edit(
        "is_worker_result",
        "-- Whether",
        "\n-- Whether",
        "usage_in_header: does not begin with a comment",
    ),
    edit(
        "is_worker_result",
        "--     SELECT count(*)",
        "--     SELECT count(*",
        'usage_in_header: shows a call that does not parse (syntax error at or near "FROM"): '
        "SELECT count(* FROM tasker_workflow_step_transitions WHERE is_worker_result(to_state);",
    ),
    edit(
        "is_worker_result",
        "is_worker_result(to_state)",
        "read_step_result(to_state)",
        "usage_in_header: shows no call of is_worker_result in its opening comment",
    ),
]

_OPTIONS = [
    edit(
        "get_step_audit_erasure",
        "e.payload ->> 'operator'::text",
        "e.payload ->> 'operator'",
        "typed_json_keys: takes 'operator' out of JSON without its type",
    ),
    edit(
        "list_stray_rights",
        _PINNED,
        "",
        "pinned_search_path: does not pin its search_path",
    ),
    edit(
        "list_stray_rights",
        _PINNED,
        "SET search_path = public\n",
        "pinned_search_path: does not pin its search_path",
    ),
    edit(
        "is_worker_result",
        "AS $$\n    SELECT p_to_state IN ('enqueued_for_orchestration', "
        "'enqueued_as_error_for_orchestration');\n$$;",
        "RETURN p_to_state = 'enqueued_for_orchestration';",
        "text_bodies: gives is_worker_result(text) a body that the catalog does not keep as text",
    ),
    edit(
        "restore_json_escapes",
        "AS $$",
        _PINNED + "AS $$",
        "pinned_search_path: is not inlined, as plain SQL without SET would be",
    ),
    edit(
        "restore_json_escapes",
        "SELECT pg_catalog.",
        "SELECT ",
        "pinned_search_path: is inlined, and calls replace without its schema",
    ),
    edit(
        "backfill_step_result_audit",
        "LANGUAGE plpgsql\n",
        "LANGUAGE plpgsql\n" + _PINNED,
        "pinned_search_path: commits, which a SET clause forbids",
    ),
    edit(
        "backfill_step_result_audit",
        "pg_catalog.pg_sleep_for",
        "pg_sleep_for",
        "pinned_search_path: commits, and calls pg_sleep_for without its schema",
    ),
    edit(
        "backfill_step_result_audit",
        "PERFORM pg_catalog.",
        "PERFORM public.",
        "pinned_search_path: commits, and calls public.pg_sleep_for without its schema",
    ),
    edit(
        "backfill_step_result_audit",
        "FROM pg_catalog.pg_proc",
        "FROM pg_proc",
        "pinned_search_path: commits, and reads pg_proc without its schema",
    ),
    edit(
        "backfill_step_result_audit",
        "%s.backfill_step_result_audit_batch",
        "backfill_step_result_audit_batch",
        "pinned_search_path: commits, and executes backfill_step_result_audit_batch "
        "without its schema",
    ),
    edit(
        "is_worker_result",
        "SELECT p_to",
        "SELECT restore_json_escapes(NULL) IS NULL OR p_to",
        "pinned_search_path: is inlined, and calls restore_json_escapes without its schema",
        "pinned_search_path: calls restore_json_escapes, but pins no search_path for it",
    ),
    edit(
        "record_step_audit_change",
        _PINNED,
        "",
        "pinned_search_path: does not pin its search_path",
        "pinned_search_path: calls is_worker_result, but pins no search_path for it",
        "pinned_search_path: calls get_utc_time, but pins no search_path for it",
        "pinned_search_path: calls get_utc_time, but pins no search_path for it",
        "confined_security_definer: is SECURITY DEFINER without SET search_path FROM CURRENT",
    ),
    edit(
        "create_step_result_audit",
        "REVOKE EXECUTE ON FUNCTION create_step_result_audit() FROM public;",
        "REVOKE EXECUTE ON FUNCTION create_step_result_audit() FROM CURRENT_USER;",
        "confined_security_definer: is SECURITY DEFINER but PUBLIC may execute it",
    ),
    edit(
        "read_step_result",
        _PINNED,
        "SECURITY DEFINER\n" + _PINNED,
        "confined_security_definer: is SECURITY DEFINER but PUBLIC may execute it",
    ),
    # the REVOKE of one signature is none of the other
    edit(
        "read_step_result",
        _SECOND_SIGNATURE,
        "REVOKE EXECUTE ON FUNCTION read_step_result(text, jsonb) FROM public;\n"
        + _SECOND_SIGNATURE
        + "SECURITY DEFINER\n",
        "confined_security_definer: is SECURITY DEFINER but PUBLIC may execute it",
    ),
    edit(
        "read_step_result",
        _SECOND_SIGNATURE,
        "REVOKE EXECUTE ON FUNCTION read_step_result(text, json) FROM public;\n"
        + _SECOND_SIGNATURE
        + "SECURITY DEFINER\n",
    ),
    edit(
        "is_worker_result",
        "IMMUTABLE\n",
        "",
        "stated_volatility: does not state its volatility",
    ),
    edit(
        "get_step_result",
        "PARALLEL UNSAFE",
        "PARALLEL SAFE",
        "no_parallel_guards: has an EXCEPTION clause and is PARALLEL SAFE",
    ),
]

_BODIES = [
    edit(
        "get_odd_step_result",
        "WHEN invalid_text_representation THEN",
        "WHEN OTHERS THEN",
        *[
            "guarded_casts: reads content as json without a guard against "
            "invalid_text_representation"
        ]
        * 2,
        "named_conditions: handles WHEN OTHERS",
    ),
    edit(
        "protect_json_escapes",
        r"E'\\u'",
        r"'\u'",
        r"escaped_backslashes: has a backslash in '\u'",
    ),
    edit(
        "is_worker_result",
        "'enqueued_for_orchestration'",
        "U&'enqueued!005Ffor_orchestration' UESCAPE '!'",
        "escaped_backslashes: has a backslash in U&'enqueued!005Ffor_orchestration'",
    ),
    edit(
        "list_step_audit_tables",
        "list_step_audit_tables()\nRETURNS",
        "list_step_audit_tables(seed int)\nRETURNS",
        "one_name_per_file: has no one comment on list_step_audit_tables(integer) in its place",
        "prefixed_variables: names a parameter seed",
    ),
    edit(
        "uninstall_step_result_audit",
        "    v_function regprocedure;",
        "    v_function regprocedure;\n    function_name name;",
        "prefixed_variables: names a variable function_name",
    ),
    edit(
        "get_step_audit_status",
        "RETURN NEXT;",
        "FOR i IN 1 .. 2 LOOP RETURN NEXT; END LOOP;",
        "prefixed_variables: names a variable i",
    ),
    edit(
        "uninstall_step_result_audit",
        "EXECUTE format('DROP ROUTINE %s', v_function)",
        "EXECUTE 'DROP ROUTINE ' || v_function",
        "formatted_dynamic_sql: executes 'DROP ROUTINE ' || v_function",
    ),
    edit(
        "uninstall_step_result_audit",
        "EXECUTE format('DROP ROUTINE %s', v_function)",
        "EXECUTE format(v_function::text)",
        "formatted_dynamic_sql: executes format(v_function::text)",
    ),
    edit(
        "list_step_audits",
        "RETURN QUERY\n",
        "RETURN QUERY EXECUTE 'SELECT 1'; RETURN QUERY\n",
        "formatted_dynamic_sql: executes 'SELECT 1'",
    ),
    edit(
        "get_step_audit_status",
        "RETURN NEXT;",
        "FOR release IN EXECUTE 'SELECT 1' LOOP END LOOP; RETURN NEXT;",
        "formatted_dynamic_sql: executes 'SELECT 1'",
    ),
]


_SIZE = "internal_error, out_of_memory, program_limit_exceeded"
_JSON = (
    "internal_error, invalid_text_representation, out_of_memory, program_limit_exceeded, "
    "statement_too_complex"
)


def _unguarded(type_name: str, missing: str) -> str:
    return f"guarded_casts: reads content as {type_name} without a guard against {missing}"


_PRINTED = _unguarded("text by an operator", _SIZE)


_CASTS = [
    # text that is content by its name
    edit(
        "read_odd_event",
        "    v_document json;",
        "    v_document json := p_event::json;",
        _unguarded("json", _JSON),
    ),
    # printed where nothing guards it
    edit(
        "read_odd_step_result",
        "    v_success := v_event -> 'success'::text;",
        "    v_text := v_event ->> 'success'::text;",
        _PRINTED,
    ),
    # outside of any block
    edit(
        "read_odd_step_result",
        "    IF success IS NULL THEN",
        "    success := v_success::boolean;\n    IF success IS NULL THEN",
        _unguarded("bool", "invalid_text_representation"),
    ),
    # in a handler, which its own clause does not protect
    edit(
        "read_odd_step_result",
        "THEN v_worker_fault := 'not a UUID'",
        "THEN worker_uuid := (v_worker ->> 0)::uuid",
        _unguarded("uuid", "invalid_text_representation"),
        _PRINTED,
    ),
    # in a declaration, whatever the block
    edit(
        "read_odd_step_result",
        "    v_text text;",
        "    v_text text := (p_metadata ->> 'n'::text)::bigint;",
        _unguarded("int8", "invalid_text_representation, numeric_value_out_of_range"),
        _PRINTED,
    ),
    # in a guard against something else
    edit(
        "read_odd_step_result",
        "OR statement_too_complex OR numeric",
        "OR numeric",
        _unguarded("jsonb", "statement_too_complex"),
    ),
    edit(
        "read_step_result",
        "OR numeric_value_out_of_range",
        "",
        _unguarded("jsonb", "numeric_value_out_of_range"),
        _unguarded("jsonb", "numeric_value_out_of_range"),
        _unguarded("int8", "numeric_value_out_of_range"),
    ),
    # by assignment, without a cast to be seen
    edit(
        "read_odd_step_result",
        "    IF success IS NULL THEN",
        "    success := v_text;\n    IF success IS NULL THEN",
        _unguarded("bool", "invalid_text_representation"),
    ),
    edit(
        "get_odd_step_result",
        "    v_document json;",
        "    v_document json := p_event;",
        _unguarded("json", _JSON),
    ),
    # by a column definition
    edit(
        "create_step_result_audit",
        "f (field text,",
        "f (n timestamp, field text,",
        _unguarded("timestamp", "datetime_field_overflow, invalid_datetime_format"),
    ),
    # in SQL, where there are no guards
    edit(
        "record_step_audit_install",
        "NOT p_files ? f.path",
        "NOT (p_files ->> f.path)::boolean",
        _unguarded("bool", "invalid_text_representation"),
        _PRINTED,
    ),
    # where a function is given no content but reads it from the table
    edit(
        "create_step_audits_view",
        "get_step_result(t.metadata, t.workflow_step_transition_uuid)",
        "to_json((t.metadata -> 'x'::text)::bigint)",
        _unguarded("int8", "invalid_text_representation, numeric_value_out_of_range"),
    ),
    edit(
        "create_step_audits_view",
        "get_step_result(t.metadata, t.workflow_step_transition_uuid)",
        "t.metadata::text::json",
        _unguarded("json", _JSON),
    ),
    # constants, and names of objects, are no content
    edit(
        "read_odd_step_result", "    IF success", "    success := 'yes'::boolean;\n    IF success"
    ),
    edit("create_step_result_audit", "RETURN NULL;", "PERFORM tg_relid::regclass; RETURN NULL;"),
]

_PORTABLE = [
    edit(
        "verify_step_audit_objects",
        "FROM step_audit_objects AS o;",
        "FROM step_audit_objects AS o, pg_class;",
        "ours_apart: reads pg_class, step_audit_objects together",
    ),
    edit(
        "create_step_result_audit",
        "            v_worker,\n",
        "            pg_catalog.gen_random_uuid(),\n",
        "plain_inserts: inserts into tasker_workflow_step_result_audit from what a function gives",
    ),
]

FUNCTION_BREAKS = _PORTABLE + _FILES + _OPTIONS + _BODIES + _CASTS
