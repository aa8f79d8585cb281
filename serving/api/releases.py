"""The routes by which an operator lists releases, changes the one that answers, and tries candidates."""

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from marquee.bundle.releases import Role
from marquee.errors import BundleError
from serving.api import messages as wire
from serving.http.errors import Problem, Refusal
from serving.releases.loading import be_nice
from serving.releases.surfaces import Surfaces

logger = logging.getLogger(__name__)

BACK = "/v1/releases/back"
CHANGES = frozenset(
    {BACK, *(f"/v1/releases/{{version}}/{do}" for do in ("activate", "canary", "shadow", "abort"))}
)
"""The routes that change something."""

_CHANGE = re.compile(r"(?:/v1)?/releases/(?:back|([^/]+)/(activate|canary|shadow|abort))")

Result = TypeVar("Result")


def change_route(path: str) -> str | None:
    """Returns the route of `CHANGES` that a path belongs to, None if to none."""
    match = _CHANGE.fullmatch(path)
    if match is None:
        return None
    return f"/v1/releases/{{version}}/{match[2]}" if match[2] else BACK


def has_body(route: str) -> bool:
    """Returns whether a route of `CHANGES` takes a body."""
    return route.endswith(("/canary", "/shadow"))


class ReleaseRoutes:
    """Answers for the releases of one process, in a thread that lets requests go first.

    Args:
        surfaces: Whose releases.
    """

    def __init__(self, surfaces: Surfaces) -> None:
        self._surfaces = surfaces
        self._read_share = wire.reader(wire.ShareRequest)
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="release-routes", initializer=be_nice
        )

    async def listed(self) -> wire.ReleasesAnswer:
        """Returns the releases of every bundle, newest first."""
        answers = []
        for channel, names in self._surfaces.channels.items():
            releases = await self._in_thread(channel.listed)
            answers += [wire.ReleaseAnswer.of(release, names) for release in releases]
        return wire.ReleasesAnswer(releases=answers)

    async def change(
        self, path: str, query: bytes, body: bytes, key_name: str, request_id: str
    ) -> wire.RolloutAnswer:
        """Returns what answers once this worker has done what the path of one of `CHANGES` says.

        Args:
            path: Of the request.
            query: May name the surface whose releases are meant.
            body: The share, where the route takes one.
            key_name: Whose key let the request in; for the log.
            request_id: For the log.

        Raises:
            UnknownIdError: If there is no such release.
            Refusal: If it cannot be used; the old one goes on answering.
        """
        match = _CHANGE.fullmatch(path)
        assert match, f"{path} is no route of CHANGES"
        version, action = match[1] or "", match[2] or "back"
        channel = self._surfaces.channel(self._surfaces.in_query(query))
        if channel.is_pinned:
            raise Refusal(
                Problem.release_refused,
                f"the service is bound to one release, got {version[:128]!r}; start it with the folder above "
                "that release as MARQUEE_BUNDLE",
            )
        share = self._read_share(body).share if action in ("canary", "shadow") else 0.0
        work: dict[str, Callable[[], object]] = {
            "activate": lambda: channel.activate(version),
            "back": channel.go_back,
            "canary": lambda: channel.name_candidate(version, Role.canary, share),
            "shadow": lambda: channel.name_candidate(version, Role.shadow, share),
            "abort": lambda: channel.drop_candidate(version),
        }
        facts = {"request_id": request_id, "key": key_name, "action": action, "share": share}
        logger.info("release %s was asked for", version[:128] or "before this one", extra={"facts": facts})
        try:
            await self._in_thread(work[action])
        except (BundleError, OSError) as error:
            raise Refusal(
                Problem.release_refused,
                f"{action} of release {version!r} was refused ({type(error).__name__}) and the old one goes "
                "on answering; the service's log says why",
            ) from error
        assert channel.answering is not None, "a change was made to what answers"
        return wire.RolloutAnswer.of(channel.answering)

    def close(self) -> None:
        """Ends the thread and the looking."""
        self._surfaces.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Returns what `work` returns, which runs beside the requests."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
