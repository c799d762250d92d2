"""The COS sink: ``WriteToCos`` with its result, and the stores it writes to; ``cos://`` as a Beam file system."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.cos.destination import Destination, parse_destination
    from transforms.cos.filesystem import CosFileSystem, CosOptions
    from transforms.cos.sink import WriteSettings, WriteToCos, WriteToCosResult
    from transforms.cos.written import PartitionReport, WrittenFile

__all__ = [
    "CosFileSystem",
    "CosOptions",
    "Destination",
    "PartitionReport",
    "WriteSettings",
    "WriteToCos",
    "WriteToCosResult",
    "WrittenFile",
    "parse_destination",
]
_MODULES = {
    "CosFileSystem": "filesystem",
    "CosOptions": "filesystem",
    "Destination": "destination",
    "PartitionReport": "written",
    "WriteSettings": "sink",
    "WriteToCos": "sink",
    "WriteToCosResult": "sink",
    "WrittenFile": "written",
    "parse_destination": "destination",
}


def __getattr__(name: str) -> Any:
    """Import when asked for: the stores need no Beam."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
