"""Verify from outside: who may lie, completeness, fields, log, checkpoints.

Nothing that lives in the audited database judges itself: plain columns are read, and all is
computed here.
"""

from step_audit.trust.verify.checkpoints import open_signed
from step_audit.trust.verify.dump import verify_dump
from step_audit.trust.verify.report import KINDS, Counts, Finding, Report, Signed, Source
from step_audit.trust.verify.run import verify

__all__ = [
    "KINDS",
    "Counts",
    "Finding",
    "Report",
    "Signed",
    "Source",
    "open_signed",
    "verify",
    "verify_dump",
]
