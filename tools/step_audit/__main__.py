"""``python -m step_audit`` is the ``step-audit`` command."""

from step_audit.cli.cli import main

if __name__ == "__main__":
    main()
