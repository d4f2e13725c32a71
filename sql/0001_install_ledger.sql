-- 0.1.0: the ledger of what is installed, and what the catalog said of it then.

CREATE TABLE step_audit_files (
    path text NOT NULL,
    sha256 text NOT NULL,
    release text NOT NULL,
    applied_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT pk_step_audit_file PRIMARY KEY (path)
);

COMMENT ON TABLE step_audit_files IS
'What is installed: each file of step-audit that was applied to this schema.';
COMMENT ON COLUMN step_audit_files.path IS
'The file, for instance functions/read/list_step_audits.sql.';
COMMENT ON COLUMN step_audit_files.sha256 IS
'SHA-256 of the file as it was applied, in hexadecimal.';
COMMENT ON COLUMN step_audit_files.release IS
'The installed release of step-audit, the same in each row.';
COMMENT ON COLUMN step_audit_files.applied_at IS
'When this text of the file was applied, UTC.';
COMMENT ON CONSTRAINT pk_step_audit_file ON step_audit_files IS
'A file is applied once.';

CREATE TABLE step_audit_objects (
    object_name text NOT NULL,
    definition text NOT NULL,
    recorded_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT pk_step_audit_object PRIMARY KEY (object_name)
);

COMMENT ON TABLE step_audit_objects IS
'What list_step_audit_objects() said of each object right after it was installed or attached.';
COMMENT ON COLUMN step_audit_objects.object_name IS
'Kind and name, for instance index idx_audit_task_uuid.';
COMMENT ON COLUMN step_audit_objects.definition IS
'How the server described the object then.';
COMMENT ON COLUMN step_audit_objects.recorded_at IS
'When it was described so, UTC.';
COMMENT ON CONSTRAINT pk_step_audit_object ON step_audit_objects IS
'An object has one description.';
