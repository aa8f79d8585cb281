"""Lazy faces of rooms (PEP 562): a public name loads its module when it is first asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Returns the `__getattr__` of a room whose public names live in its modules.

    Trap: no module of a room may bear a name of its face, for importing the module would hide the name. A
    test walks all faces.

    Args:
        package: Name of the room's package.
        homes: Public name → module of the room, relative to the package.
    """

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return load
