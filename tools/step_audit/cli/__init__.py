"""The ``step-audit`` command: parse, call, print."""
