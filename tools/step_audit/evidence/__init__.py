"""Evidence for an auditor: one archive of records, their proofs, and a page that a person reads."""
