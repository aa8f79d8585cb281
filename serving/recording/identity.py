"""Requests as they may be answered: within what their users let be used, and under the names that fit."""

from dataclasses import replace
from typing import NamedTuple

from marquee.bundle.manifest import Manifest
from marquee.core.targeting.customer import Customer
from marquee.decision.requests import Request, within_tier
from marquee.store.people.consent import Tier, strictest
from serving.recording.users import KnownUser, counted_as


class Identified(NamedTuple):
    """A request as it may be answered.

    Attributes:
        request: Within what the user lets be used, with their profile, naming them as the bundle does.
        user: Who it is; None for nobody named, or somebody of whom nothing is known.
        user_id: The name in the request as it came.
        has_profile: Whether the profile could be had, as far as it is wanted.
        customer: Their traits and audiences, as far as these may be used; None for nothing.
    """

    request: Request
    user: KnownUser | None = None
    user_id: str | None = None
    has_profile: bool = True
    customer: Customer | None = None

    @property
    def recorded_as(self) -> str | None:
        """The name to record the answer under, None for nobody's."""
        return self.user.name if self.user is not None and self.request.tier is Tier.personal else None

    @property
    def counted_as(self) -> str | None:
        """The pseudonym to count ads under, None if nothing may be counted."""
        return counted_as(self.recorded_as)

    def held_out(self) -> "Identified":
        """Returns the request without anything of the user, who stays on record.

        The tier stays theirs: what a holdout takes away is not what they refused.
        """
        stripped = within_tier(self.request, Tier.none)
        return self._replace(request=replace(stripped, tier=self.request.tier), user_id=None, customer=None)

    def request_to(self, manifest: Manifest) -> Request:
        """Returns the request as another bundle names the user."""
        if self.user is None or self.user_id is None or self.request.tier is not Tier.personal:
            return self.request
        return replace(self.request, user_id=self.user.name_in(manifest, self.user_id))


def identified_by_itself(asked: Request, default: Tier) -> Identified:
    """Returns a request as it may be answered where nobody is asked for what its user has said.

    Args:
        asked: The request.
        default: How much of a person may be used who has said nothing.
    """
    tier = strictest((asked.tier, default))
    # Where a store of users is asked, this is for requests without a user, or that let nothing be used.
    user = KnownUser(tier, asked.user_id) if asked.user_id and tier is Tier.personal else None
    return Identified(within_tier(asked, tier), user, asked.user_id)


def identified(
    asked: Request, user: KnownUser | None, manifest: Manifest, *, has_profile: bool
) -> Identified:
    """Returns a request that names a user as it may be answered, its profile aside.

    Args:
        asked: The request.
        user: Who it is; None if that is not known.
        manifest: Of the bundle that answers.
        has_profile: Whether the profile could be had.
    """
    if user is None or asked.user_id is None:
        # Nobody knows what they have said: nothing of them may be used.
        return Identified(within_tier(asked, Tier.none), has_profile=False)
    tier = strictest((asked.tier, user.tier))
    if tier is not Tier.personal:
        return Identified(within_tier(asked, tier), user, asked.user_id)
    name = user.name_in(manifest, asked.user_id)
    request = asked if name == asked.user_id else replace(asked, user_id=name)
    return Identified(request, user, asked.user_id, has_profile)
