"""The page for people: the audit in a browser, rendered here, without a script."""

from step_audit.read.web.page.errors import show_errors
from step_audit.read.web.page.routes import add_page

__all__ = ["add_page", "show_errors"]
