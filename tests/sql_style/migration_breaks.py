"""Deliberate edits of the files of sql/, each with all that the rules must say of it."""

from __future__ import annotations

from tests.sql_style.function_breaks import edit

MIGRATION_BREAKS = [
    edit(
        "0001_install_ledger",
        "CREATE TABLE step_audit_files",
        "CREATE TABLE IF NOT EXISTS step_audit_files",
        "no_hidden_drift: says IF NOT EXISTS",
    ),
    edit(
        "0021_audit_access",
        "            PERFORM",
        "            CREATE SCHEMA IF NOT EXISTS x;\n            PERFORM",
        "no_hidden_drift: says IF NOT EXISTS",
    ),
    edit(
        "0010_idx_audit_task_uuid",
        "CREATE INDEX",
        "CREATE INDEX CONCURRENTLY",
        "no_concurrent_index: says CONCURRENTLY",
    ),
    edit(
        "0021_audit_access",
        "    END LOOP;\nEND;\n",
        "    END LOOP;\nEXCEPTION\n    WHEN OTHERS THEN NULL;\nEND;\n",
        "named_conditions: handles WHEN OTHERS",
    ),
    edit(
        "0010_idx_audit_task_uuid",
        "-- 0.1.0:",
        "-- 0.0.9:",
        "released_headers: sql/0010_idx_audit_task_uuid.sql does not begin with "
        "'-- RELEASE: purpose'",
    ),
    edit(
        "0007_seal_log",
        "-- 0.1.0: the log",
        "-- the log",
        "released_headers: sql/0007_seal_log.sql does not begin with '-- RELEASE: purpose'",
    ),
    edit(
        "0007_seal_log",
        "CREATE TABLE step_audit_seals",
        "SELECT attach_step_result_audit();\nCREATE TABLE step_audit_seals",
        "no_function_calls: sql/0007_seal_log.sql calls attach_step_result_audit",
    ),
    edit(
        "0002_audit_table",
        "DEFAULT FALSE",
        "DEFAULT is_worker_result('x')",
        "no_function_calls: sql/0002_audit_table.sql calls is_worker_result",
    ),
    edit(
        "0021_audit_access",
        "            PERFORM",
        "            PERFORM read_step_result('complete', NULL);\n            PERFORM",
        "no_function_calls: sql/0021_audit_access.sql calls read_step_result",
    ),
    edit(
        "0001_install_ledger",
        "COMMENT ON TABLE step_audit_files IS",
        "COMMENT ON VIEW step_audit_file IS",
        "commented_objects: step_audit_files has no comment",
    ),
    edit(
        "0001_install_ledger",
        "    path text NOT NULL,",
        "    path text NOT NULL,\n    size bigint CHECK (size > 0),",
        "commented_objects: step_audit_files.size has no comment",
        "commented_objects: step_audit_files.(check constraint without a name) has no comment",
    ),
    edit(
        "0002_audit_table",
        "COMMENT ON CONSTRAINT pk_audit ON",
        "COMMENT ON CONSTRAINT pk_other ON",
        "commented_objects: tasker_workflow_step_result_audit.pk_audit has no comment",
    ),
    edit(
        "0020_index_comments",
        "COMMENT ON INDEX idx_audit_task_uuid IS",
        "COMMENT ON INDEX idx_task IS",
        "commented_objects: idx_audit_task_uuid has no comment",
    ),
    edit(
        "0007_seal_log",
        "CREATE TABLE step_audit_seals",
        "ALTER TABLE step_audit_files ADD COLUMN a int, ADD CONSTRAINT b UNIQUE (a);\n"
        "CREATE TRIGGER c BEFORE DELETE ON step_audit_files EXECUTE FUNCTION f();\n"
        "CREATE TABLE step_audit_seals",
        "commented_objects: step_audit_files.a has no comment",
        "commented_objects: step_audit_files.b has no comment",
        "commented_objects: step_audit_files.c has no comment",
    ),
    edit(
        "0008_audit_record",
        "COMMENT ON TYPE step_audit IS",
        "COMMENT ON TYPE step_audits IS",
        "commented_objects: step_audit has no comment",
    ),
    edit(
        "0010_idx_audit_task_uuid",
        "CREATE INDEX",
        "SELECT 1;\nCREATE INDEX",
        "lonely_index: creates an index beside another statement",
    ),
]
