"""Messages: of the group `operating`; written by `make lock`."""

import msgspec


class HealthAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Whether the service lives, or takes requests.

    Attributes:
        status: `alive` or `ready`.
        behind: Bundles of which another release answers than `CURRENT` names.
    """

    status: str
    behind: tuple[str, ...] = ()
