"""The HTTP service: read-only, for applications that ask for the history of a step."""

from step_audit.read.web.app import create_app
from step_audit.read.web.server import serve

__all__ = ["create_app", "serve"]
