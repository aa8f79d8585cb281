"""The parts of one process of the service: what it serves, follows, records and sells.

Each is made when it is first asked for: the process that watches the workers needs none of them.
"""

from functools import cached_property
from pathlib import Path

from marquee.store.log.log_rows import SECONDS_PER_DAY
from marquee.store.log.opening import folder_of_closed_days
from marquee.store.people.user_key import UserKey
from marquee.store.signing import TrustedKeys
from serving.api.ads.sales import AdSales
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.customers.followed import FollowedRun
from serving.config import Settings
from serving.recording.ads.spending import Spending
from serving.recording.closing import DayCloser
from serving.recording.erasing import ErasingThread, Erasures
from serving.recording.erasing_terms import Terms
from serving.recording.opening import OpenedLog
from serving.recording.recorder import Recorder
from serving.recording.rules.following import Rules
from serving.recording.users import KeyedUsers, KnownUsers, PlainUsers
from serving.releases.answering import freeze_memory, known_by, overdue
from serving.releases.arms.experiments import Experiments
from serving.releases.live_items import LiveItemLimits, LiveItems
from serving.releases.surface_file import SurfaceFile
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import FOLDER_VARIABLE, Metrics, shared_folder
from serving.workers.shared_memory import reserve
from serving.workers.table import WorkerTable


class Parts:
    """The parts.

    Args:
        settings: The operator's.
        worker: Index of the worker that this process is.

    Attributes:
        settings: The same.
    """

    def __init__(self, settings: Settings, worker: int = 0) -> None:
        self.settings = settings
        self._worker = worker

    @property
    def trusted_keys(self) -> TrustedKeys | None:
        """The keys of those who may publish, None for anybody."""
        return read_trusted_keys(self.settings)

    @cached_property
    def metrics(self) -> Metrics:
        """The counters of this process."""
        if (folder := shared_folder()) is not None:
            reserve(folder, FOLDER_VARIABLE)
        return Metrics(drift=Path(self.settings.drift) if self.settings.drift else None)

    @cached_property
    def surfaces(self) -> Surfaces:
        """The surfaces of this process."""
        return SurfaceFile.read(self.settings).open(
            self.metrics, self.trusted_keys, self.experiments.variants
        )

    @cached_property
    def experiments(self) -> Experiments:
        """The experiments of this process."""
        return Experiments.read(self.settings, SurfaceFile.read(self.settings).surfaces)

    @cached_property
    def items(self) -> LiveItems:
        """The live items of this process."""
        folder = Path(self.settings.items) if self.settings.items else None
        return LiveItems(self.surfaces.channels, folder, LiveItemLimits.of(self.settings), self.metrics)

    @cached_property
    def rules(self) -> Rules | None:
        """The rules of this process, None where none are kept."""
        if not self.settings.events:
            return None
        return Rules(self.settings.events, self.metrics, arms=self.experiments.arms)

    @cached_property
    def spending(self) -> Spending | None:
        """The campaigns of this process and their money, None where none are kept."""
        return Spending(self.settings.events, self.log, self.metrics) if self.log is not None else None

    @cached_property
    def ads(self) -> AdSales | None:
        """Sells slots in this process, None where no campaigns are kept."""
        spending, worth = self.spending, self.settings.objective
        return AdSales.over(spending, worth, self.settings.workers, self.metrics) if spending else None

    @cached_property
    def workers(self) -> WorkerTable:
        """The table by which this process and the other workers know of each other."""
        return WorkerTable(self.settings.workers, self._worker, shared_folder())

    @cached_property
    def closer(self) -> DayCloser | None:
        """The thread that moves days out of the event log, None where none are moved."""
        folder = self._closed
        if not (self.settings.events and folder and self.settings.close_days_every_s):
            return None
        return DayCloser(
            self.settings.events,
            folder,
            self.settings.event_horizon_days * SECONDS_PER_DAY,
            self.settings.close_days_every_s,
            lambda: known_by(channel.answering for channel in self.surfaces.channels),
            self.metrics,
        )

    @cached_property
    def log(self) -> OpenedLog | None:
        """The event log, None where none is kept."""
        return OpenedLog(self.settings.events, closed=self._closed) if self.settings.events else None

    @property
    def _closed(self) -> Path | None:
        """The folder of closed days, None where no day is closed."""
        return folder_of_closed_days(self.settings.events, self.settings.closed_days)

    @cached_property
    def keyed(self) -> KeyedUsers | None:
        """The users under pseudonyms, None where there is no key for them."""
        if not self.settings.user_key:
            return None
        return KeyedUsers(
            self.settings.events, UserKey.read(self.settings.user_key), self.settings.default_tier
        )

    @property
    def users(self) -> KnownUsers:
        """The users, under their own ids where there is no key for others."""
        return self.keyed or PlainUsers(self.settings.default_tier)

    @cached_property
    def recorder(self) -> Recorder | None:
        """Puts answers on record, None where no log is kept."""
        return Recorder(self.log, self.metrics, users=self.users) if self.log else None

    @cached_property
    def erasures(self) -> Erasures | None:
        """Erases users, None where they are kept under their own ids, or not at all."""
        if self.log is None or self.keyed is None:
            return None
        homes = [channel.home for channel in self.surfaces.channels]
        terms = Terms.of(self.settings, homes, self.settings.max_release_age_days)
        return Erasures(self.settings.events, self._closed, self.log, self.keyed, terms)

    @cached_property
    def eraser(self) -> ErasingThread | None:
        """The thread that has passes of erasures run, None where nobody can be erased."""
        if self.erasures is None:
            return None
        days = self.settings.max_release_age_days
        return ErasingThread(
            self.erasures,
            lambda now: overdue((channel.answering for channel in self.surfaces.channels), now, days),
            self.metrics,
        )

    @cached_property
    def customers(self) -> FollowedRun | None:
        """The run of customers, None where none is served."""
        return FollowedRun(Path(self.settings.traits)) if self.settings.traits else None

    @cached_property
    def at_decision(self) -> CustomersAtDecision:
        """The same run as decisions ask it."""
        return CustomersAtDecision(self.customers)

    def load(self) -> None:
        """Loads the current releases and begins to watch for the next ones."""
        self.surfaces.load()
        self.items.open()
        if self.rules is not None:
            self.rules.open()
            self.rules.watch()
        if self.spending is not None:
            self.spending.open()
        if self.ads is not None:
            self.ads.open()
            # Ten thousand campaigns are a million objects: to look through them would hold an answer up.
            freeze_memory()
        self.surfaces.watch(self.settings.release_poll_ms / 1000)
        self.items.watch(self.settings.items_poll_ms / 1000)
        if self.closer is not None:
            self.closer.start()
        if self.eraser is not None:
            self.eraser.start()
        self.surfaces.admit()  # not before items and rules: what is withdrawn or blocked would be shown
        self.workers.tell_ready()


def read_trusted_keys(settings: Settings) -> TrustedKeys | None:
    """Returns the keys of those who may publish, None for anybody."""
    return TrustedKeys.read(settings.trusted_keys) if settings.trusted_keys else None
