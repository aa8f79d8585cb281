"""The routes by which an operator lists releases, changes the one that answers, and tries candidates."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec import UNSET

from marquee.bundle.releases import Role
from marquee.errors import BundleBusyError, BundleError, ConfigError, EventLogError
from marquee.store.log.log_rows import SECONDS_PER_DAY
from serving.api.messages.releases import ReleaseAnswer, ReleasesAnswer, RolloutAnswer, ShareRequest
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import Call
from serving.recording.erasing import Erasures
from serving.releases.channel import Channel
from serving.releases.loading import be_nice
from serving.releases.surfaces import Surfaces

logger = logging.getLogger(__name__)


class ReleaseRoutes:
    """Answers for the releases of one process, in a thread that lets requests go first.

    Args:
        surfaces: Whose releases.
        erasures: Know which releases know erased users; None where nobody can be erased.
        max_age_days: Age from which a release should have been replaced.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        surfaces: Surfaces,
        erasures: Erasures | None = None,
        max_age_days: int = 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._surfaces = surfaces
        self._erasures = erasures
        self._max_age_s = max_age_days * SECONDS_PER_DAY
        self._clock = clock
        self._changing: set[Channel] = set()
        # One thread for each channel, which has one change at a time: no change waits for that of another.
        self._executor = ThreadPoolExecutor(
            max_workers=len(surfaces.channels), thread_name_prefix="release-routes", initializer=be_nice
        )
        # A list must not wait for a release that is being loaded: an operator wants it just then.
        self._lister = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="release-list", initializer=be_nice
        )

    async def listed(self, _call: Call) -> ReleasesAnswer:
        """Returns the releases of every bundle, newest first; raises Refusal if a folder cannot be read."""
        held = await asyncio.wrap_future(self._lister.submit(self._held))
        oldest = int(self._clock()) - self._max_age_s
        answers = []
        for channel, names in self._surfaces.channels.items():
            try:
                releases = await asyncio.wrap_future(self._lister.submit(channel.listed))
            except OSError as error:
                raise _away(channel, error) from error
            answers += [ReleaseAnswer.of(release, names, held, oldest) for release in releases]
        return ReleasesAnswer(releases=answers)

    def _held(self) -> Mapping[str, int]:
        """Returns how many erased users each release knows; nothing of it where the store is away."""
        if self._erasures is None:
            return {}
        try:
            return self._erasures.held_by_releases()
        except (EventLogError, ConfigError) as error:
            # An operator wants the list just when something is wrong.
            logger.warning("releases are listed without the erased users that they know: %s", error)
            return {}

    async def activate(self, call: Call) -> RolloutAnswer:
        """Makes a release the current one; raises as `_change` does."""
        return await self._change(call, "activate", lambda channel, version: channel.activate(version))

    async def back(self, call: Call) -> RolloutAnswer:
        """Makes the release before the current one current again; raises as `_change` does."""
        return await self._change(call, "back", lambda channel, _version: channel.go_back())

    async def canary(self, call: Call, message: ShareRequest) -> RolloutAnswer:
        """Lets a release answer a share of the users; raises as `_change` does."""
        return await self._try(call, Role.canary, message.share)

    async def shadow(self, call: Call, message: ShareRequest) -> RolloutAnswer:
        """Asks a release a share of the requests for comparison; raises as `_change` does."""
        return await self._try(call, Role.shadow, message.share)

    async def abort(self, call: Call) -> RolloutAnswer:
        """Takes a candidate out of its role; raises as `_change` does."""
        return await self._change(call, "abort", lambda channel, version: channel.drop_candidate(version))

    def close(self) -> None:
        """Ends the threads and the looking."""
        self._surfaces.close()
        for executor in (self._executor, self._lister):
            executor.shutdown(wait=False, cancel_futures=True)

    async def _try(self, call: Call, role: Role, share: float) -> RolloutAnswer:
        """Gives a release a role beside the current one."""
        return await self._change(
            call, role.value, lambda channel, version: channel.name_candidate(version, role, share), share
        )

    async def _change(
        self, call: Call, action: str, work: Callable[[Channel, str], object], share: float = 0.0
    ) -> RolloutAnswer:
        """Runs `work` in this worker and returns the state of the releases after it.

        Args:
            call: May name a release in its path, and the surface whose releases are meant in its query.
            action: Word for the log and for the caller.
            work: Changes a channel.
            share: Of a candidate, for the log.

        Raises:
            UnknownIdError: If there is no such release.
            Refusal: If it cannot be used, or another change is at work; the old one goes on answering.
        """
        version = call.parameters.get("version", "")
        channel = self._surfaces.channel(self._surfaces.named(call.query.get("surface", UNSET)))
        _validate_changeable(channel, version)
        if channel in self._changing:  # it may take as long as a load may, and its caller would give up
            raise _busy(
                f"another change of {channel.name} is at work here; nothing was changed, send it again later"
            )
        facts = {"request_id": call.request_id, "key": call.key, "action": action, "share": share}
        logger.info("release %s was asked for", version[:128] or "before this one", extra={"facts": facts})
        try:
            await self._in_thread(channel, lambda: work(channel, version))
        except (BundleError, OSError) as error:
            logger.warning("%s was refused: %s", action, error, extra={"facts": facts})
            raise _refusal(action, version, channel, error) from error
        assert channel.answering is not None, "a change was made to what answers"
        return RolloutAnswer.of(channel.answering)

    async def _in_thread(self, channel: Channel, work: Callable[[], object]) -> None:
        """Runs a change of a channel in a thread beside the requests."""
        self._changing.add(channel)
        future = self._executor.submit(work)
        # Not when the caller is answered: one that goes away ends its wait, never the change.
        future.add_done_callback(lambda _ended: self._changing.discard(channel))
        await asyncio.wrap_future(future)


def _validate_changeable(channel: Channel, version: str) -> None:
    """Raises Refusal if no other release can answer, now or ever."""
    if channel.answering is None:  # or else the change would wait for the loading, and its caller with it
        raise unavailable("the bundle is being loaded; retry after a moment")
    try:
        is_pinned = channel.is_pinned
    except OSError as error:
        raise _away(channel, error) from error
    if is_pinned:
        raise Refusal(
            Problem.release_refused,
            f"the service is bound to one release, got {version[:128]!r}; start it with the folder above "
            "that release as MARQUEE_BUNDLE",
        )


def _away(channel: Channel, error: OSError) -> Refusal:
    """Returns the refusal of a request that needs the folder of a channel, which cannot be read."""
    logger.error("the folder of %s cannot be read: %s", channel.name, error)
    return unavailable(
        f"the folder of {channel.name} cannot be read at the moment ({error.strerror}); answers go on; see "
        "whether its disk is there, and ask again"
    )


def _refusal(action: str, version: str, channel: Channel, error: BundleError | OSError) -> Refusal:
    """Returns the refusal of a change; its caller has the right `admin` and may read every reason."""
    reason = str(error).replace(str(channel.home), channel.name)  # where it lies is nobody's business
    asked = f"{action} of release {version!r}" if version else action
    message = f"{asked} was refused, the old one goes on answering: {reason}"
    if isinstance(error, BundleBusyError):
        return _busy(message)
    return Refusal(Problem.release_refused, message)


def _busy(message: str) -> Refusal:
    """Returns the refusal of a change that may be sent again."""
    return Refusal(Problem.release_busy, message, headers=((b"retry-after", b"1"),))
