"""Deliberate edits of the files of sql/, each with all that the rules must say of it."""

from __future__ import annotations

from tests.sql_style.function_breaks import edit

MIGRATION_BREAKS = [
    edit(
        "0001_audit_table",
        "CREATE TABLE step_audit_files",
        "CREATE TABLE IF NOT EXISTS step_audit_files",
        "no_hidden_drift: says IF NOT EXISTS",
    ),
    edit(
        "0004_audit_access",
        "    LOOP\n        PERFORM",
        "    LOOP\n        CREATE SCHEMA IF NOT EXISTS x;\n        PERFORM",
        "no_hidden_drift: says IF NOT EXISTS",
    ),
    edit(
        "0002_audit_indexes",
        "CREATE INDEX",
        "CREATE INDEX CONCURRENTLY",
        "no_concurrent_index: says CONCURRENTLY",
    ),
    edit(
        "0004_audit_access",
        "'');\n    END LOOP;\nEND;\n",
        "'');\n    END LOOP;\nEXCEPTION\n    WHEN OTHERS THEN NULL;\nEND;\n",
        "named_conditions: handles WHEN OTHERS",
    ),
    edit(
        "0002_audit_indexes",
        "-- 0.1.0:",
        "-- 0.0.9:",
        "released_headers: sql/0002_audit_indexes.sql does not begin with '-- RELEASE: purpose'",
    ),
    edit(
        "0005_audit_trigger",
        "-- 0.1.0: the trigger",
        "-- the trigger",
        "released_headers: sql/0005_audit_trigger.sql does not begin with '-- RELEASE: purpose'",
    ),
    edit(
        "0005_audit_trigger",
        "SELECT attach_step_result_audit();",
        "SELECT uninstall_step_result_audit();",
        "no_function_calls: sql/0005_audit_trigger.sql calls uninstall_step_result_audit",
    ),
    edit(
        "0001_audit_table",
        "DEFAULT FALSE",
        "DEFAULT is_worker_result('x')",
        "no_function_calls: sql/0001_audit_table.sql calls is_worker_result",
    ),
    edit(
        "0004_audit_access",
        "    LOOP\n        PERFORM",
        "    LOOP\n        PERFORM read_step_result('complete', NULL);\n        PERFORM",
        "no_function_calls: sql/0004_audit_access.sql calls read_step_result",
    ),
    edit(
        "0001_audit_table",
        "COMMENT ON TABLE step_audit_files IS",
        "COMMENT ON VIEW step_audit_file IS",
        "commented_objects: step_audit_files has no comment",
    ),
    edit(
        "0001_audit_table",
        "    path text NOT NULL,",
        "    path text NOT NULL,\n    size bigint CHECK (size > 0),",
        "commented_objects: step_audit_files.size has no comment",
        "commented_objects: step_audit_files.(check constraint without a name) has no comment",
    ),
    edit(
        "0001_audit_table",
        "COMMENT ON CONSTRAINT pk_audit ON",
        "COMMENT ON CONSTRAINT pk_other ON",
        "commented_objects: tasker_workflow_step_result_audit.pk_audit has no comment",
    ),
    edit(
        "0002_audit_indexes",
        "COMMENT ON INDEX idx_audit_task_uuid IS",
        "COMMENT ON INDEX idx_task IS",
        "commented_objects: idx_audit_task_uuid has no comment",
    ),
    edit(
        "0005_audit_trigger",
        "SELECT attach_step_result_audit();",
        "ALTER TABLE step_audit_files ADD COLUMN a int, ADD CONSTRAINT b UNIQUE (a);\n"
        "CREATE TRIGGER c BEFORE DELETE ON step_audit_files EXECUTE FUNCTION f();",
        "commented_objects: step_audit_files.a has no comment",
        "commented_objects: step_audit_files.b has no comment",
        "commented_objects: step_audit_files.c has no comment",
    ),
]
