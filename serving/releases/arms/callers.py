"""The surfaces as one caller has them: each with the settings of the arms that the caller is in."""

from collections.abc import Callable

from msgspec import UNSET, UnsetType

from marquee.store.people.consent import Tier, strictest
from serving.releases.answering import Answering
from serving.releases.arms.experiments import Experiments, with_canary
from serving.releases.channel import Channel
from serving.releases.surfaces import Surface, Surfaces


class Arms:
    """Puts callers into arms.

    Args:
        surfaces: As they are declared.
        experiments: All that there are.
        default: How much of a person may be used who has said nothing.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self, surfaces: Surfaces, experiments: Experiments, default: Tier, clock: Callable[[], float]
    ) -> None:
        self._surfaces = surfaces
        self._experiments = experiments
        self._default = default
        self._clock = clock

    def of(self, request_id: str, user_id: str | None, tier: Tier | UnsetType) -> "CallerSurfaces":
        """Returns the surfaces of a caller.

        Args:
            request_id: Of the request.
            user_id: Who asks.
            tier: The most of them that the request lets be used.
        """
        allowed = strictest((self._default, Tier.personal if tier is UNSET else tier))
        # Below `personal` nothing follows from who asks, nor which arm answers.
        known = user_id if allowed is Tier.personal else None
        return CallerSurfaces(self._surfaces, self._experiments, known, request_id, self._clock())


class CallerSurfaces:
    """The surfaces of one caller.

    Args:
        surfaces: As they are declared.
        experiments: All that there are.
        user_id: Who asks, None if nothing may follow from it.
        request_id: Of the request.
        now: Seconds since 1970 UTC.
    """

    def __init__(
        self,
        surfaces: Surfaces,
        experiments: Experiments,
        user_id: str | None,
        request_id: str,
        now: float,
    ) -> None:
        self._surfaces = surfaces
        self._experiments = experiments
        self._user_id = user_id
        self._request_id = request_id
        self._now = now

    def named(self, name: str | UnsetType) -> Surface:
        """Returns the surface that a request means; raises Refusal as `Surfaces.named` does."""
        surface = self._surfaces.named(name)
        answering = self.channel(surface).answering
        if answering is None or not (self._experiments.are_there or answering.candidates):
            return surface
        return self._with_arms(surface, answering)

    def channel(self, surface: Surface) -> Channel:
        """Returns the releases that answer for a surface."""
        return self._surfaces.channel(surface)

    def _with_arms(self, surface: Surface, answering: Answering) -> Surface:
        """Returns a surface with the settings of the caller's arms."""
        surface = self._experiments.surface_for(
            surface, answering, self._user_id, self._request_id, self._now
        )
        return with_canary(surface, answering, self._user_id or self._request_id)
