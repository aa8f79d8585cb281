"""The surfaces of one service: places in an app, each with its bundle, defaults, filters and limits.

`MARQUEE_SURFACES` names a file that declares them (see `surface_file`); without it there is one, of
`MARQUEE_BUNDLE`. Decides what a request means that names a surface. Two surfaces of one bundle share what is
loaded.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

from msgspec import UNSET, UnsetType

from marquee.ads.slots import SlotConfig
from marquee.core.catalog import ItemKind
from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.targeting.customer import Customer
from marquee.decision.creatives.answers import validate_fields
from marquee.decision.creatives.choosing import CreativeSet
from marquee.decision.experiments.assignment import HELD_OUT, HOLDOUT, Assigned
from marquee.decision.policies.config import NO_EXPLORATION, Exploration
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HISTORY_WEIGHT, Request
from marquee.decision.reranking import NO_RERANKING, Reranking
from marquee.errors import BundleError, MarqueeError
from serving.config import Settings
from serving.http.errors import Problem, Refusal, unavailable
from serving.releases.answering import Answering
from serving.releases.channel import Channel

DEFAULT = "default"
"""The one surface of a service that declares none."""

DEFAULT_K = 10


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A place in an app.

    Attributes:
        name: What requests call it.
        bundle: Folder of its bundle, as for `Bundle.load`.
        settings: The operator's limits, narrowed.
        kind: The only kind of item that it shows; None for both.
        k: Items of an answer where the request does not say.
        default_kind: Kind of item where the request does not say.
        own_filters: Hold where the request gives none: `filters` and the default ones.
        exclude_seen: Whether what was seen is left out where the request does not say.
        filters: Hold for every answer, beside those of the request.
        reranking: How an answer is ordered.
        exploration: How its places are drawn.
        context: What is known of the moment by the surface alone, by attribute; a request may say otherwise.
        traits: Attribute of a user → the trait that it is where the request does not say it.
        release: Version of the one release that answers; None for the current one or the canary.
        assigned: The arms of experiments that made it what it is.
        creatives: How items are said; None for none.
        slots: Places that are sold; None for none.
        history_weight: What users count beside the words that they ask by.
    """

    name: str
    bundle: str
    settings: Settings
    kind: ItemKind | None = None
    k: int = DEFAULT_K
    default_kind: ItemKind | None = None
    own_filters: Filters = NO_FILTERS
    exclude_seen: bool = True
    filters: Filters = NO_FILTERS
    reranking: Reranking | None = None
    exploration: Exploration = NO_EXPLORATION
    context: Mapping[str, str] = field(default_factory=dict)
    traits: Mapping[str, str] = field(default_factory=dict)
    release: str | None = None
    assigned: tuple[Assigned, ...] = ()
    creatives: CreativeSet | None = None
    slots: SlotConfig | None = None
    history_weight: float = HISTORY_WEIGHT

    @property
    def is_held_out(self) -> bool:
        """Whether nothing that is known of the user may shape the answer."""
        return any(one.experiment == HOLDOUT and one.arm == HELD_OUT for one in self.assigned)

    def with_context(self, request: Request, columns: Collection[str]) -> Request:
        """Returns a request that also says what the surface knows, as far as answers depend on it."""
        known = {
            name: value
            for name, value in self.context.items()
            if name in columns and name not in request.context
        }
        return replace(request, context={**request.context, **known}) if known else request

    def with_traits(self, request: Request, customer: Customer | None, columns: Collection[str]) -> Request:
        """Returns a request that also says the traits of its user, as far as the surface declares them.

        Args:
            request: What is asked.
            customer: Who asks, as far as it is known and may be used.
            columns: What requests may state to any effect (see `Bundle.columns`).
        """
        if customer is None or not self.traits:
            return request
        known = {
            name: value
            for name, trait in self.traits.items()
            if name in columns
            and name not in request.features
            and name not in request.context
            and (value := customer.traits.get(trait)) is not None
        }
        return replace(request, features={**request.features, **known}) if known else request

    def kind_of(self, wanted: ItemKind | None) -> ItemKind | None:
        """Returns the kind of item that answers a request; raises Refusal if it wants one not shown here."""
        if self.kind is not None and wanted not in (None, self.kind):
            raise Refusal(
                Problem.invalid_request,
                f"surface {self.name!r} shows items of kind {self.kind}, got kind {wanted}; leave it out",
                field="kind",
            )
        return self.kind or wanted

    def validate(self, recommender: Recommender) -> None:
        """Raises BundleError if a release cannot do what the surface asks of it."""
        try:
            asked = Request(
                timestamp=0,
                filters=self.own_filters,
                reranking=self.reranking or NO_RERANKING,
                exploration=self.exploration,
                decision_id="none, for nothing is drawn",
            )
            recommender.validate(asked)
            if self.creatives is not None:
                validate_fields(self.creatives, recommender.item_pool.table)
        except MarqueeError as error:
            raise BundleError(
                f"release {recommender.version} does not fit surface {self.name!r}: {error}"
            ) from error


class Surfaces:
    """The surfaces of one process, and the releases that answer for them.

    Args:
        surfaces: In the order of the file.
        default: Name of the one that a request means which names none; empty if every request must.
        channels: The releases of each, by the surface's name; surfaces of one bundle share them.
    """

    def __init__(self, surfaces: Iterable[Surface], default: str, channels: Mapping[str, Channel]) -> None:
        self._surfaces = {surface.name: surface for surface in surfaces}
        self._default = default
        self._is_held = False
        self.is_closed = False
        self._channels = channels

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the file."""
        return tuple(self._surfaces)

    @property
    def channels(self) -> Mapping[Channel, tuple[str, ...]]:
        """The releases of each bundle, once, with the names of the surfaces that they answer for."""
        names: dict[Channel, tuple[str, ...]] = {}
        for name, channel in self._channels.items():
            names[channel] = (*names.get(channel, ()), name)
        return names

    def slots_of(self, name: str) -> SlotConfig | None:
        """Returns the places that a surface sells; None if it sells none or there is no such surface."""
        surface = self._surfaces.get(name)
        return None if surface is None else surface.slots

    def named(self, name: str | UnsetType) -> Surface:
        """Returns the surface that a request means; raises Refusal with the list if there is none."""
        surface = self._surfaces.get(self._default if name is UNSET else name)
        if surface is None:
            came = "none" if name is UNSET else repr(name[:64])
            raise Refusal(
                Problem.invalid_request,
                f"surface must be one of {list(self._surfaces)}, got {came}; name one of them",
                field="surface",
            )
        return surface

    def in_query(self, query: bytes) -> Surface:
        """Returns the surface that the query of a path means; raises as `named` does."""
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("surface")
        return self.named(given[-1] if given else UNSET)

    def channel(self, surface: Surface) -> Channel:
        """Returns the releases that answer for a surface."""
        return self._channels[surface.name]

    def answering(self, surface: Surface) -> Answering:
        """Returns the release that answers for a surface; raises Refusal before it is loaded."""
        answering = self._channels[surface.name].answering
        if answering is None or self._is_held:
            raise unavailable("the bundle is being loaded; retry after a moment")
        return answering

    def validate_ready(self) -> None:
        """Raises Refusal unless every surface has somebody who answers."""
        for surface in self._surfaces.values():
            self.answering(surface)

    def hold(self) -> None:
        """Answers nothing until `admit` is called, however much is loaded."""
        self._is_held = True

    def admit(self) -> None:
        """Answers from now on."""
        self._is_held = False

    @property
    def behind(self) -> tuple[str, ...]:
        """Names of the channels that answer from another release than their `CURRENT` names."""
        return tuple([channel.name for channel in self.channels if channel.is_behind])

    def load(self) -> None:
        """Loads the current release of every bundle; raises as `Channel.load` does."""
        for channel in self.channels:
            channel.load()

    def watch(self, interval_s: float) -> None:
        """Begins to look for other releases, every `interval_s` seconds."""
        for channel in self.channels:
            channel.watch(interval_s)

    def close(self) -> None:
        """Stops looking, and loading: a release that is being loaded is given up."""
        self.is_closed = True
        for channel in self.channels:
            channel.close()
