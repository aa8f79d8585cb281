"""The routes by which an operator lists releases and changes the one that answers."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from marquee.errors import BundleError
from serving import wire
from serving.errors import Refusal
from serving.releases import Releases, be_nice

logger = logging.getLogger(__name__)


class ReleaseRoutes:
    """Answers for the releases of one process, in a thread that lets requests go first.

    Args:
        releases: Returns the releases of the process, once it has begun.
    """

    def __init__(self, releases: Callable[[], Releases]) -> None:
        self._releases = releases
        self._executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="release-routes", initializer=be_nice
        )

    async def listed(self) -> wire.ReleasesAnswer:
        """Returns the releases that there are, newest first."""
        loop = asyncio.get_running_loop()
        releases = await loop.run_in_executor(self._executor, lambda: self._releases().listed())
        return wire.ReleasesAnswer(releases=[wire.ReleaseAnswer.of(release) for release in releases])

    async def activate(self, version: str, key_name: str, request_id: str) -> wire.ActivateAnswer:
        """Makes a release the current one; returns it once this worker answers from it.

        Raises:
            UnknownIdError: If there is no such release.
            Refusal: If it cannot be used; the old one goes on answering.
        """
        if self._releases().is_pinned:
            raise Refusal(
                409,
                f"the service is bound to one release, got {version[:128]!r}; start it with the folder above "
                "that release as MARQUEE_BUNDLE",
            )
        loop = asyncio.get_running_loop()
        logger.info(
            "release %s was asked for",
            version[:128],
            extra={"facts": {"request_id": request_id, "key": key_name}},
        )
        try:
            recommender = await loop.run_in_executor(
                self._executor, lambda: self._releases().activate(version)
            )
        except (BundleError, OSError) as error:
            raise Refusal(
                409,
                f"release {version!r} was refused ({type(error).__name__}) and the old one goes on "
                "answering; the service's log says why",
            ) from error
        return wire.ActivateAnswer(version=recommender.version)

    def close(self) -> None:
        """Ends the thread and the looking."""
        self._releases().close()
        self._executor.shutdown(wait=False, cancel_futures=True)
