"""The same verification of a dump: COPY text in files, and no server that could lie.

A folder holds a file for each table, as ``pg_restore -a -t TABLE -f FILE`` writes it. Files become
rows, rows become values of their columns, these are kept in SQLite, joined, and judged.
"""

from step_audit.trust.verify.dump.verification import verify_dump

__all__ = ["verify_dump"]
