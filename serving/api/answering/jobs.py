"""Jobs: a request with the release that answers it, how one is made, and what came of it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from msgspec import UNSET, UnsetType

from marquee.decision.creatives.answers import ItemCreative
from marquee.decision.experiments.assignment import Assigned
from marquee.decision.pages.rows import AnsweredRow, Row
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Decided, Request
from marquee.errors import DataError, FilterError, QueryError, UnknownIdError
from marquee.store.people.consent import Tier
from serving.api.ads.advertised import Advertised
from serving.api.messages.cursors import Cursor, write_cursor
from serving.http.errors import Problem, Refusal
from serving.recording.identity import Identified
from serving.recording.recorder import Begun, Recorder
from serving.releases.answering import Answering
from serving.releases.arms.callers import CallerSurfaces
from serving.releases.surfaces import DEFAULT, Surface
from serving.telemetry.timings import Stopwatch


@dataclass(frozen=True, slots=True)
class Job:
    """A question and the release that answers it: chosen once, so that an answer is of one release.

    Attributes:
        asked: What.
        surface: Where the answer is shown, as the arms of the caller have it.
        recommender: Who answers.
        answering: All who might have when the request came.
        request_id: Of the request.
        timings: Whether the answer is to tell what each stage took.
        begun: The decision that it is to be, None where nothing is recorded; of a page none of `begun_rows`.
        is_drawn_by_user: Whether the arms follow from who asks.
        since: When the job was made, seconds of `time.perf_counter`.
        is_paged: Whether the answer brings a cursor.
        shown: Items that were shown before.
        rows: Of a page; none for a plain request.
        begun_rows: The decisions that the rows are to be, None where nothing is recorded.
        row_surfaces: Where the rows are shown.
    """

    asked: Request
    surface: Surface
    recommender: Recommender
    answering: Answering
    request_id: str
    timings: bool
    begun: Begun | None
    is_drawn_by_user: bool
    since: float
    is_paged: bool = False
    shown: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    begun_rows: tuple[Begun | None, ...] = ()
    row_surfaces: tuple[Surface, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the current release answers, and no other could."""
        return not self.answering.candidates and not self.answering.arms

    def cursor_behind(self, version: str, item_ids: Iterable[str]) -> str | None:
        """Returns the cursor behind an answer of a release; None if nothing may follow."""
        return write_cursor(self.answered_by(version).item_pool, version, (*self.shown, *item_ids))

    def told_arms(self, surface: Surface, identified: Identified) -> tuple[Assigned, ...]:
        """Returns the arms that answer and record may tell, none where they were drawn as for somebody else.

        Consent may change between the moment in which the arms are drawn and that of the answer.

        Args:
            surface: Of the answer, or of a row of it.
            identified: The request as it was answered.
        """
        is_known = self.asked.user_id is not None and identified.request.tier is Tier.personal
        return surface.assigned if is_known is self.is_drawn_by_user else ()

    def answered_by(self, version: str) -> Recommender:
        """Returns who made an answer of a release: the current one where `recommender` failed."""
        return self.recommender if self.recommender.version == version else self.answering.current

    def failed_release(self, version: str) -> str:
        """Returns the release in whose place another made an answer, empty if none failed."""
        return "" if self.recommender.version == version else self.recommender.version


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and what it took.

    Attributes:
        identified: What was asked, as it may be answered, with what the user did since the release.
        answer: The answer, of a page that of its first row.
        decided: With what a record of it holds beside; None where nothing is recorded.
        queue_s: Seconds that the job waited for its batch.
        watch: Of the batch.
        rows: The rows of a page.
        asked_rows: What was asked for each of them, as it may be answered.
        creatives: How its items are said, in their order; empty where the surface has no creatives.
        row_creatives: The same of each row of a page.
        advertised: The ads in it; None where none could be sold.
        row_advertised: The same of each row of a page.
        row_content: Items of each row before ads took some of their places: no row below holds them.
    """

    identified: Identified
    answer: Answer
    decided: Decided | None
    queue_s: float
    watch: Stopwatch
    rows: tuple[AnsweredRow, ...] = ()
    asked_rows: tuple[Row, ...] = ()
    creatives: tuple[ItemCreative, ...] = ()
    row_creatives: tuple[tuple[ItemCreative, ...], ...] = ()
    advertised: Advertised | None = None
    row_advertised: tuple[Advertised | None, ...] = ()
    row_content: tuple[tuple[str, ...], ...] = ()


class JobMaker:
    """Makes jobs of requests.

    Args:
        recorder: Begins the decisions that are put on record; None: there are none.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    def make(
        self,
        asked: Request,
        surface: Surface,
        caller: CallerSurfaces,
        request_id: str,
        *,
        timings: bool = False,
        cursor: str | UnsetType = UNSET,
    ) -> Job:
        """Returns a job with who answers it; raises FilterError before it could spoil a batch.

        Args:
            asked: What.
            surface: Where the answer is shown, as the caller has it.
            caller: Who asks, as far as anything may follow from it.
            request_id: Of the request.
            timings: Whether the answer is to tell what each stage took.
            cursor: Of the page before.

        Raises:
            FilterError: If the catalog cannot apply the filters.
            Refusal: If nobody can answer, or the cursor belongs to nobody who answers.
        """
        answering = caller.answering(surface)
        shown: tuple[str, ...] = ()
        arm = answering.of_release(surface.release) if surface.release else None
        recommender = arm or answering.choose(caller.unit)
        if cursor is not UNSET:
            read = Cursor.read(cursor)
            recommender = _of_release(answering, read.version)
            shown = read.shown(recommender.item_pool)
            asked = replace(asked, exclude=(*asked.exclude, *shown))
            surface = caller.kept_to_release(surface, recommender.version)
        if surface.context:
            asked = surface.with_context(asked, recommender.bundle.columns)
        asked, begun = self._begin(asked, surface)
        validate_answerable(recommender, asked)
        return Job(
            asked,
            surface,
            recommender,
            answering,
            request_id,
            timings,
            begun,
            caller.user_id is not None,
            time.perf_counter(),
            is_paged=cursor is not UNSET,
            shown=shown,
        )

    def with_rows(self, job: Job, rows: Sequence[Row], caller: CallerSurfaces) -> Job:
        """Returns the job of a page with its rows, each a decision of its own on the surface that it names.

        Args:
            job: Of the page.
            rows: What it holds.
            caller: Who asks.

        Raises:
            FilterError: If the catalog cannot apply the filters of a row.
            Refusal: If the re-ranking of a row asks for an attribute that the catalog does not have.
        """
        made: list[Row] = []
        begun: list[Begun | None] = []
        shown_on: list[Surface] = []
        for row in rows:
            surface = caller.of_row(row.request.surface or DEFAULT, job.surface)
            shown_on.append(surface)
            request, one = self._begin(row.request, surface)
            validate_answerable(job.recommender, request)
            made.append(replace(row, request=request))
            begun.append(one)
        return replace(job, rows=tuple(made), begun_rows=tuple(begun), row_surfaces=tuple(shown_on))

    def _begin(self, asked: Request, surface: Surface) -> tuple[Request, Begun | None]:
        """Returns a request that draws its places as the surface says, and the decision that it is to be."""
        begun = self._recorder.begin() if self._recorder else None
        if begun and begun.may_explore and surface.exploration.explores:
            asked = replace(asked, exploration=surface.exploration, decision_id=begun.decision_id)
        return asked, begun


def _of_release(answering: Answering, version: str) -> Recommender:
    """Returns who answers from the release of a cursor; raises Refusal if nobody does any more."""
    for recommender in answering.recommenders:
        if recommender.version == version:
            return recommender
    raise Refusal(
        Problem.cursor_expired,
        f"the cursor belongs to release {version[:128]!r}, and {answering.current.version} answers now; "
        "begin anew, without the cursor",
        field="cursor",
    )


def validate_answerable(recommender: Recommender, request: Request) -> None:
    """Raises what says that a release cannot answer a request, before it could spoil a batch.

    Raises:
        FilterError: If the catalog cannot apply the filters.
        UnknownIdError: If there is no item that others are to be like.
        QueryError: If words are asked for and the release has no texts.
        Refusal: If re-ranking asks for an attribute that the catalog does not have.
    """
    if not (request.filters or request.reranks or request.like_item or request.query):
        return
    try:
        recommender.validate(request)
    except (FilterError, UnknownIdError, QueryError):
        raise
    except DataError as error:
        raise Refusal(Problem.invalid_request, str(error), field="reranking") from None
