"""Who did what and when, and how far it is that goes on now."""

from collections.abc import Mapping

from jtask_console.actions.audit import AuditLog
from jtask_console.actions.operations import Operation
from jtask_console.live.hub import ACTIONS
from jtask_console.pages.page import Asked, Facts, Page, always

_ROWS = 200


def audit_page(audit: AuditLog, current: Mapping[str, Operation]) -> Page:
    """Return the page.

    Args:
        audit: What was done.
        current: What is being done here, by its id.
    """

    async def facts(asked: Asked) -> Facts:
        del asked
        return {
            "title": "Audit log",
            "section": "audit",
            "entries": await audit.newest(_ROWS),
            "current": current,
        }

    return Page("/audit", "audit.html", facts, always(ACTIONS), ("entries",))
