"""All that steers answers beside the release: rules of people, and what is known of users as customers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from marquee.decision.pages.rows import AnsweredRow, Row
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Decided, Request
from serving.api.ads.advertised import Advertised
from serving.api.ads.pages import PageAds
from serving.api.ads.sales import AdSales
from serving.api.answering.jobs import Job
from serving.api.customers.deciding import NOBODY, CustomersAtDecision
from serving.recording.identity import Identified
from serving.recording.recorder import Begun
from serving.recording.rules.following import Rules, Shown
from serving.releases.surfaces import Surface


@dataclass(frozen=True, slots=True)
class Steering:
    """All that steers answers; each part is asked anew for every batch, so that a change holds at the next.

    Attributes:
        rules: Knows what people have decided; None: nobody has.
        customers: Knows traits and audiences of users.
        ads: Sells slots; None: nobody does.
    """

    rules: Rules | None = None
    customers: CustomersAtDecision = NOBODY
    ads: AdSales | None = None

    def with_customer(self, identified: Identified, job: Job) -> Identified:
        """Returns a request with what is known of its user as a customer, and the traits of its surface."""
        customer = self.customers.find(identified)
        if customer is None:
            return identified
        columns = job.recommender.bundle.columns
        request = job.surface.with_traits(identified.request, customer, columns)
        return identified._replace(request=request, customer=customer)

    def requests(self, identified: Sequence[Identified], jobs: Sequence[Job]) -> list[Request]:
        """Returns requests with the rules that hold for each, and the ads that it may be answered with."""
        asked = [
            # Most surfaces sell nothing: not even the question is put.
            one.request
            if self.ads is None or job.surface.slots is None
            else self.ads.wanted(one, job.surface, job.begun)
            for one, job in zip(identified, jobs, strict=True)
        ]
        if self.rules is None:
            return asked
        # Made one by one when there are rules that look at them.
        shown = (_shown(job.surface) for job in jobs)
        customers = (one.customer for one in identified)
        return self.rules.of_requests(asked, shown, customers, self.customers.facts)

    def advertised(
        self, identified: Identified, job: Job, recommender: Recommender, decided: Decided
    ) -> Advertised | None:
        """Returns an answer with the ads that were sold into it, None where none are."""
        if self.ads is None or job.surface.slots is None:
            return None
        return self.ads.sold(identified, job.surface, job.begun, recommender, decided)

    def rows_advertised(
        self, identified: Identified, job: Job, wanted: Sequence[Row], made: Sequence[AnsweredRow]
    ) -> list[Advertised | None]:
        """Returns the rows of a page with the ads that were sold into each, None where nobody sells any.

        Args:
            identified: Who asked for the page.
            job: The page.
            wanted: Its rows as they were asked for.
            made: The same as they were composed.
        """
        if self.ads is None:
            return [None] * len(made)
        page = PageAds.of(job.row_surfaces, made)
        return [
            self.ads.sold(
                identified._replace(request=row.request), surface, begun, job.recommender, one.decided, page
            )
            for row, surface, begun, one in zip(wanted, job.row_surfaces, job.begun_rows, made, strict=True)
        ]

    def _with_ads(
        self, identified: Identified, job: Job, row: Row, surface: Surface, begun: Begun | None
    ) -> Request:
        """Returns the request of a row of a page, with the ads that it may be answered with."""
        assert self.ads is not None, "a row asks for ads where somebody sells them"
        asked = row.request
        if job.surface.is_held_out:
            # What a row says of its user is the page's, and of that nothing may be used.
            asked = replace(asked, features=identified.request.features)
        return self.ads.wanted(identified._replace(request=asked), surface, begun)

    def close(self) -> None:
        """Ends the threads of those who steer."""
        if self.ads is not None:
            self.ads.close()

    def rows(self, identified: Identified, job: Job) -> list[Row]:
        """Returns the rows of a page as they may be answered, with the rules that hold for each."""
        customer = identified.customer
        rows = [row.within(identified.request.tier) for row in job.rows]
        if customer is not None:
            columns = job.recommender.bundle.columns
            rows = [
                replace(row, request=surface.with_traits(row.request, customer, columns))
                for row, surface in zip(rows, job.row_surfaces, strict=True)
            ]
        if self.ads is not None:
            rows = [
                replace(row, request=self._with_ads(identified, job, row, surface, begun))
                for row, surface, begun in zip(rows, job.row_surfaces, job.begun_rows, strict=True)
            ]
        if self.rules is None:
            return rows
        shown = [_shown(surface) for surface in job.row_surfaces]
        return self.rules.of_rows(rows, shown, customer, self.customers.facts)


def _shown(surface: Surface) -> Shown:
    """Returns where an answer is shown, by its surface as the caller has it."""
    return Shown(surface.name, frozenset([(one.experiment, one.arm) for one in surface.assigned]))


NOT_STEERED = Steering()
"""Of a service without rules and without a run of customers."""
