"""The COS sink: ``WriteToCos`` with its result, and the stores it writes to."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.cos.destination import Destination, parse_destination
    from transforms.cos.sink import PartitionReport, WriteSettings, WriteToCos, WriteToCosResult, WrittenFile

__all__ = [
    "Destination",
    "PartitionReport",
    "WriteSettings",
    "WriteToCos",
    "WriteToCosResult",
    "WrittenFile",
    "parse_destination",
]
_MODULES = {name: "sink" for name in __all__} | {"Destination": "destination", "parse_destination": "destination"}


def __getattr__(name: str) -> Any:
    """Import when asked for: the stores need no Beam."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
