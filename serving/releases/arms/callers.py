"""The surfaces as one caller has them: each with the settings of the arms that the caller is in."""

from collections.abc import Callable
from dataclasses import replace

from msgspec import UNSET, UnsetType

from marquee.decision.experiments.declaring import CANARY
from marquee.store.people.consent import Tier
from serving.releases.answering import Answering
from serving.releases.arms.experiments import Experiments, with_canary
from serving.releases.channel import Channel
from serving.releases.surfaces import Surface, Surfaces


class Arms:
    """Puts callers into arms.

    Args:
        surfaces: As they are declared.
        experiments: All that there are.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(self, surfaces: Surfaces, experiments: Experiments, clock: Callable[[], float]) -> None:
        self._surfaces = surfaces
        self._experiments = experiments
        self._clock = clock

    @property
    def are_drawn(self) -> bool:
        """Whether what somebody gets may follow from who asks."""
        return self._experiments.are_there or any(
            channel.answering is not None and channel.answering.candidates
            for channel in self._surfaces.channels
        )

    def of(self, request_id: str, user_id: str | None, tier: Tier) -> "CallerSurfaces":
        """Returns the surfaces of a caller.

        Args:
            request_id: Of the request.
            user_id: Who asks.
            tier: How much of them may be used.
        """
        # As in the answer itself: below `personal` nothing follows from who asks, nor which arm answers.
        known = user_id if tier is Tier.personal else None
        return CallerSurfaces(self._surfaces, self._experiments, known, request_id, self._clock())


class CallerSurfaces:
    """The surfaces of one caller.

    Args:
        surfaces: As they are declared.
        experiments: All that there are.
        user_id: Who asks, None if nothing may follow from it.
        request_id: Of the request.
        now: Seconds since 1970 UTC.

    Attributes:
        user_id: The same.
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
        self.user_id = user_id or None
        self._request_id = request_id
        self._now = now
        self._answering: dict[Channel, Answering] = {}

    @property
    def unit(self) -> str:
        """The name by which a canary is drawn: of the user, or of the request."""
        return self.user_id or self._request_id

    def answering(self, surface: Surface) -> Answering:
        """Returns the releases that answer for a surface; raises Refusal as `Surfaces.answering` does."""
        channel = self.channel(surface)
        # Once for a request: a release that comes between arm and answer would answer for another one's arm.
        if channel not in self._answering:
            self._answering[channel] = self._surfaces.answering(surface)
        return self._answering[channel]

    def named(self, name: str | UnsetType) -> Surface:
        """Returns the surface that a request means; raises Refusal as `Surfaces.named` does."""
        surface = self._surfaces.named(name)
        if not self._is_drawn_on(surface):
            return surface
        answering = self.answering(surface)
        surface = self._experiments.surface_for(surface, answering, self.user_id, self._request_id, self._now)
        return with_canary(surface, answering, self.unit)

    def of_row(self, name: str | UnsetType, page: Surface) -> Surface:
        """Returns the surface of a row, which the release of its page answers.

        Args:
            name: As the row has it.
            page: Of the page, as `named` gives it; its bundle is that of the row.

        Raises:
            Refusal: As `Surfaces.named` does.
        """
        if name is UNSET or name == page.name:
            return page
        surface = self._surfaces.named(name)
        if not self._is_drawn_on(surface):
            return surface
        # No arm of these, the control neither: the one without its release would be missing from the counts.
        decided = frozenset(
            one.name
            for one in self._experiments.experiments
            if self._experiments.decides_release(one.name) and not one.runs_on(page.name)
        )
        surface = self._experiments.surface_for(
            surface, self.answering(page), self.user_id, self._request_id, self._now, without=decided
        )
        told = [
            one
            for one in surface.assigned
            if one in page.assigned or not self._experiments.decides_release(one.experiment)
        ]
        canary = [one for one in page.assigned if one.experiment == CANARY]
        return replace(surface, assigned=(*told, *canary))

    def kept_to_release(self, surface: Surface, version: str) -> Surface:
        """Returns a surface as an answer has it whose release was decided before, by a cursor.

        Args:
            surface: As the caller has it.
            version: Of the release that answers.
        """
        asked = surface.release or self.answering(surface).choose(self.unit).version
        # Who is drawn by request is drawn anew at each page: by chance alone some would fit the release.
        if not surface.assigned or (version == asked and self.user_id is not None):
            return surface
        told = [one for one in surface.assigned if not self._experiments.decides_release(one.experiment)]
        return replace(surface, assigned=tuple(told))

    def channel(self, surface: Surface) -> Channel:
        """Returns the channel of the releases that answer for a surface."""
        return self._surfaces.channel(surface)

    def _is_drawn_on(self, surface: Surface) -> bool:
        """Tells whether the caller may be in an arm there."""
        answering = self.channel(surface).answering
        # Before a release is loaded the request is judged all the same, and refused by who makes the job.
        return answering is not None and bool(self._experiments.are_there or answering.candidates)
