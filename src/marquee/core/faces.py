"""Lazy faces of rooms (PEP 562): a public name loads its module when it is first asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Returns the `__getattr__` of a room whose public names live in its modules.

    Args:
        package: Name of the room's package.
        homes: Public name → module of the room, relative to the package.
    """

    def load(name: str) -> object:
        # `hasattr` and `from … import` expect an AttributeError; a KeyError would pass through them.
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # Trap: a module that bears a name of its face hides that name once it is imported. A test walks all.
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return load
