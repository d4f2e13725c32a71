"""``step-audit demo``: the whole product on a throw-away server."""

from step_audit.demo.run import run_demo

__all__ = ["run_demo"]
