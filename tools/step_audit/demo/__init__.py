"""``step-audit demo``: the whole product on a throw-away server."""
