"""Bringing a backup back into Pulsar: ``RestoreToPulsar`` for anyone's pipeline, and what finds its elements."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.restore.plan import PartitionPlan, RestorePlan, plan_restore
    from transforms.restore.routing import Router
    from transforms.restore.selection import Selection
    from transforms.restore.write import PartitionRestored, RestoreResult, RestoreSettings, RestoreToPulsar

__all__ = [
    "PartitionPlan",
    "PartitionRestored",
    "RestorePlan",
    "RestoreResult",
    "RestoreSettings",
    "RestoreToPulsar",
    "Router",
    "Selection",
    "plan_restore",
]
_MODULES = {
    "PartitionPlan": "plan",
    "RestorePlan": "plan",
    "plan_restore": "plan",
    "Router": "routing",
    "Selection": "selection",
    "PartitionRestored": "write",
    "RestoreResult": "write",
    "RestoreSettings": "write",
    "RestoreToPulsar": "write",
}


def __getattr__(name: str) -> Any:
    """Import when asked for: the pure modules need neither Beam nor the client, which take a second to load."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
