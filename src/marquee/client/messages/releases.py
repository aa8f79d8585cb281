"""Messages: of the group `releases`; written by `make lock`."""

import msgspec


class ReleaseAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One release in a folder that the service answers from.

    Attributes:
        version: Its name.
        surfaces: Whom the releases of this folder answer for.
        created: Seconds since 1970 UTC; null if it cannot be read.
        is_current: Whether every worker is to answer from it.
        is_answering: Whether the worker that says this answers from it.
        canary_share: Share of the users whom it answers in that worker, in place of the current one.
        shadow_share: Share of the requests that it is asked in that worker, for comparison only.
        metrics: What the model reached when it was judged.
        erased_users: How many users it knows who were erased since, by names that lead to nobody.
        is_overdue: Whether it knows such users and is older than `MARQUEE_MAX_RELEASE_AGE_DAYS`.
    """

    version: str
    surfaces: tuple[str, ...] = ()
    created: int | None = None
    is_current: bool
    is_answering: bool
    canary_share: float = 0.0
    shadow_share: float = 0.0
    metrics: dict[str, float]
    erased_users: int = 0
    is_overdue: bool = False


class ReleasesAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The releases that there are, newest first.

    Attributes:
        releases: Newest first.
    """

    releases: tuple[ReleaseAnswer, ...]


class TrialAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A candidate and its share.

    Attributes:
        version: The release.
        share: Of the users (canary) or of the requests (shadow).
    """

    version: str
    share: float


class RolloutAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The release that answers from now on.

    Attributes:
        version: The current release.
        canary: Answers a share of the users in its place.
        shadow: Is only compared with it.
    """

    version: str
    canary: TrialAnswer | None = None
    shadow: TrialAnswer | None = None


class ShareRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How much of the traffic a candidate is to see.

    Attributes:
        share: Of the users (canary) or of the requests (shadow), in steps of 0.0001.
    """

    share: float
