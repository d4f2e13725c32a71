"""The sealed log without a database: hashes, leaves, signed checkpoints, and proofs of one record.

A second implementation of what the SQL computes, so that neither has to be believed alone.
"""
