"""Requests and answers of operators who list and change releases."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from marquee.bundle.releases import Role
from serving.releases.answering import Answering, Loaded
from serving.releases.listing import Release


class ReleaseAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """One release in a folder that the service answers from."""

    version: Annotated[str, Meta(description="Its name.")]
    # A default where a field is younger than its message: a client then reads older services as well.
    surfaces: Annotated[
        tuple[str, ...], Meta(description="Whom the releases of this folder answer for.")
    ] = ()
    created: Annotated[int | None, Meta(description="Seconds since 1970 UTC; null if it cannot be read.")]
    is_current: Annotated[bool, Meta(description="Whether every worker is to answer from it.")]
    is_answering: Annotated[bool, Meta(description="Whether the worker that says this answers from it.")]
    canary_share: Annotated[
        float,
        Meta(description="Share of the users whom it answers in that worker, in place of the current one."),
    ] = 0.0
    shadow_share: Annotated[
        float, Meta(description="Share of the requests that it is asked in that worker, for comparison only.")
    ] = 0.0
    metrics: Annotated[dict[str, float], Meta(description="What the model reached when it was judged.")]
    erased_users: Annotated[
        int, Meta(description="How many users it knows who were erased since, by names that lead to nobody.")
    ] = 0
    is_overdue: Annotated[
        bool,
        Meta(description="Whether it knows such users and is older than `MARQUEE_MAX_RELEASE_AGE_DAYS`."),
    ] = False

    @classmethod
    def of(
        cls, release: Release, surfaces: tuple[str, ...], held: Mapping[str, int], oldest: int
    ) -> "ReleaseAnswer":
        """Returns the message that tells a release.

        Args:
            release: The release.
            surfaces: Whom the releases of its folder answer for.
            held: How many erased users each release knows, by version.
            oldest: A release that was made before should have been replaced, seconds since 1970 UTC.
        """
        erased_users = held.get(release.version, 0)
        created = release.manifest.created if release.manifest else None
        return cls(
            version=release.version,
            surfaces=surfaces,
            created=created,
            is_current=release.is_current,
            is_answering=release.is_answering,
            canary_share=release.canary_share,
            shadow_share=release.shadow_share,
            metrics=dict(release.manifest.metrics) if release.manifest else {},
            erased_users=erased_users,
            is_overdue=erased_users > 0 and created is not None and created < oldest,
        )


class ReleasesAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The releases that there are, newest first."""

    releases: Annotated[list[ReleaseAnswer], Meta(description="Newest first.")]


class ShareRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How much of the traffic a candidate is to see."""

    share: Annotated[
        float,
        Meta(
            ge=0.0001,
            le=1,
            description="Of the users (canary) or of the requests (shadow), in steps of 0.0001.",
        ),
    ]


class TrialAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A candidate and its share."""

    version: Annotated[str, Meta(description="The release.")]
    share: Annotated[float, Meta(description="Of the users (canary) or of the requests (shadow).")]

    @classmethod
    def of(cls, loaded: Loaded | None) -> "TrialAnswer | None":
        """Returns the message that tells of a candidate."""
        if loaded is None:
            return None
        return cls(version=loaded.candidate.version, share=loaded.candidate.share)


class RolloutAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The release that answers from now on."""

    version: Annotated[str, Meta(description="The current release.")]
    canary: Annotated[TrialAnswer | None, Meta(description="Answers a share of the users in its place.")]
    shadow: Annotated[TrialAnswer | None, Meta(description="Is only compared with it.")]

    @classmethod
    def of(cls, answering: Answering) -> "RolloutAnswer":
        """Returns the message that tells `answering`."""
        return cls(
            version=answering.current.version,
            canary=TrialAnswer.of(answering.candidates.get(Role.canary)),
            shadow=TrialAnswer.of(answering.candidates.get(Role.shadow)),
        )
