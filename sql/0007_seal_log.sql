-- 0.1.0: the log that seals make: its leaves and their salts, its subtrees, and the seals.

CREATE TABLE step_audit_leaves (
    leaf_index bigint NOT NULL,
    kind text NOT NULL,
    record_uuid uuid NOT NULL,
    leaf_hash bytea NOT NULL,
    CONSTRAINT pk_step_audit_leaf PRIMARY KEY (leaf_index),
    CONSTRAINT uq_step_audit_leaf_record UNIQUE (record_uuid)
);

COMMENT ON TABLE step_audit_leaves IS
'The Merkle log: one leaf per sealed record.';
COMMENT ON COLUMN step_audit_leaves.leaf_index IS
'Place in the log, from 0, without a gap.';
COMMENT ON COLUMN step_audit_leaves.kind IS
'What is sealed: result, an audit row and its transition; unprintable result, whose metadata has no text.';
COMMENT ON COLUMN step_audit_leaves.record_uuid IS
'The sealed record, of an audit row its key; no foreign key, as the log outlives what it has sealed.';
COMMENT ON COLUMN step_audit_leaves.leaf_hash IS
'RFC 6962 leaf hash, SHA-256, of what format_step_audit_leaf() gives.';
COMMENT ON CONSTRAINT pk_step_audit_leaf ON step_audit_leaves IS
'A place in the log is taken once.';
COMMENT ON CONSTRAINT uq_step_audit_leaf_record ON step_audit_leaves IS
'A record is sealed once.';

CREATE TABLE step_audit_salts (
    leaf_index bigint NOT NULL,
    salt bytea NOT NULL,
    CONSTRAINT pk_step_audit_salt PRIMARY KEY (leaf_index)
);

COMMENT ON TABLE step_audit_salts IS
'The random salt of each leaf''s commitment: who has a leaf and no salt can guess nothing of what is sealed.';
COMMENT ON COLUMN step_audit_salts.leaf_index IS
'The leaf.';
COMMENT ON COLUMN step_audit_salts.salt IS
'16 bytes.';
COMMENT ON CONSTRAINT pk_step_audit_salt ON step_audit_salts IS
'A leaf has one salt.';

CREATE TABLE step_audit_subtrees (
    height integer NOT NULL,
    subtree_index bigint NOT NULL,
    root_hash bytea NOT NULL,
    CONSTRAINT pk_step_audit_subtree PRIMARY KEY (height, subtree_index)
);

COMMENT ON TABLE step_audit_subtrees IS
'Roots of the log''s full subtrees, so that its newest root need not be computed from all leaves.';
COMMENT ON COLUMN step_audit_subtrees.height IS
'1 for a subtree of 256 leaves, 2 of 256 such, and so on.';
COMMENT ON COLUMN step_audit_subtrees.subtree_index IS
'Which of its height, from 0, from the left.';
COMMENT ON COLUMN step_audit_subtrees.root_hash IS
'RFC 6962 Merkle tree hash, SHA-256, of the subtree.';
COMMENT ON CONSTRAINT pk_step_audit_subtree ON step_audit_subtrees IS
'A subtree has one root.';

CREATE TABLE step_audit_seals (
    tree_size bigint NOT NULL,
    sealed_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    covered pg_snapshot,
    place text,
    waiting uuid[],
    CONSTRAINT pk_step_audit_seal PRIMARY KEY (tree_size)
);

COMMENT ON TABLE step_audit_seals IS
'One row per seal: how far the log goes since, and which transactions it covers.';
COMMENT ON COLUMN step_audit_seals.tree_size IS
'Leaves in the log after this seal.';
COMMENT ON COLUMN step_audit_seals.sealed_at IS
'When the seal was made, UTC.';
COMMENT ON COLUMN step_audit_seals.covered IS
'All audit rows of the transactions that it shows are sealed or waiting; NULL until a seal at this place reached all.';
COMMENT ON COLUMN step_audit_seals.place IS
'Where the seal was made, and the transaction ids of covered count: see get_step_audit_place().';
COMMENT ON COLUMN step_audit_seals.waiting IS
'Audit rows whose transition this seal did not see; the next one looks for it again.';
COMMENT ON CONSTRAINT pk_step_audit_seal ON step_audit_seals IS
'Each seal makes the log longer.';
