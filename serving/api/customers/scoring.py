"""The route that scores a form just sent by a trait of the run, as `training.score` scores a table."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches

from marquee.bundle.traits.columns import Values, read_values
from marquee.bundle.traits.forms.files import NoForm
from marquee.bundle.traits.forms.form import Form, FormScores
from marquee.bundle.traits.run import CustomersRun
from marquee.errors import DataError, FormError
from marquee.store.people.consent import Tier, strictest
from serving.api import examples
from serving.api.customers.asked import AskedCustomers
from serving.api.customers.messages import ScoreAnswer, ScoreReason, ScoreRequest
from serving.api.route import Route, Tag
from serving.http.errors import Problem, Refusal
from serving.http.exchange import Call
from serving.http.guard import Right


class ScoreRoutes:
    """Scores forms. A score takes a fraction of a millisecond, so that it needs no thread.

    Args:
        customers: The run, and what users said.
    """

    def __init__(self, customers: AskedCustomers) -> None:
        self._customers = customers
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score-routes")

    async def post(self, call: Call, message: ScoreRequest) -> ScoreAnswer:
        """Returns the score of a form.

        Raises:
            Refusal: If the trait is unknown, the form lacks a column or holds a wrong one, or nobody agreed
                to it.
        """
        run = self._customers.run
        form = _form(run, call.parameters["trait"])
        tier = await self._tier(message.user_id, _said(run, message))
        if strictest((tier, form.tier)) is not form.tier:
            raise Refusal(
                Problem.consent_needed,
                f"{form.name} is a {form.type} of one person and needs consent of the tier {form.tier}, got "
                f"{tier}; score only those who agreed",
                field="consent",
            )
        scores = _scores(run, form, message.columns)
        return ScoreAnswer(
            request_id=call.request_id,
            trait=form.name,
            value=scores.value[0],
            version=form.version,
            as_of=form.as_of,
            reasons=tuple(
                ScoreReason(column=column, contribution=by)
                for strongest in scores.strongest[:1]
                for column, by in strongest
            ),
            parts={name: float(values[0]) for name, values in scores.parts.items()},
        )

    def close(self) -> None:
        """Ends the thread."""
        self._executor.shutdown()

    async def _tier(self, user_id: str | None, said: Tier | None) -> Tier:
        """Returns how much of whoever sent the form may be used."""
        asked = (user_id, said)
        if user_id is None or not self._customers.reads_users:
            return self._customers.tier(*asked)
        # A disk may be slow.
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._customers.tier, *asked)


def _said(run: CustomersRun, message: ScoreRequest) -> Tier | None:
    """Returns the consent that a request and its form state, None for none; raises Refusal for another."""
    tiers = [] if message.consent is None else [message.consent]
    column = run.manifest.consent
    if column and column in message.columns:
        given = message.columns[column]
        # As in the table: nobody has agreed by saying nothing.
        word = ("" if given is None else str(given)).strip().lower() or Tier.none.value
        if word not in set(Tier):
            raise Refusal(
                Problem.invalid_request,
                f"{column} must be personal, segment, none or null, got {word[:64]!r}; correct it",
                field=f"columns.{column}",
            )
        tiers.append(Tier(word))
    return strictest(tiers) if tiers else None


def _form(run: CustomersRun, name: str) -> Form:
    """Returns the form of a trait; raises Refusal if it has none."""
    form = run.forms.get(name)
    if form is None or isinstance(form, NoForm):
        why = ", which the run refused" if name in run.manifest.refused else ""
        if form is not None:
            why = f", which no form can be scored by: {form.why}"
        known = sorted(one for one, other in run.forms.items() if not isinstance(other, NoForm))
        raise Refusal(
            Problem.not_found,
            f"the traits that score are {known}, got {name[:64]!r}{why}; name one of them",
        )
    return form


def _scores(run: CustomersRun, form: Form, columns: Mapping[str, object]) -> FormScores:
    """Returns the scores of a form; raises Refusal that names the column at fault."""
    try:
        return form.score_forms(_values(run, form, columns))
    except FormError as error:
        raise Refusal(Problem.invalid_request, str(error), field=f"columns.{error.column}") from error


def _values(run: CustomersRun, form: Form, columns: Mapping[str, object]) -> dict[str, Values]:
    """Returns the values of a form as the trait reads them; raises Refusal that names the column at fault."""
    # A column of the table that this trait does not read is no mistake: one form serves every trait.
    forms = (one for one in run.forms.values() if not isinstance(one, NoForm))
    known = {*run.manifest.columns, *(column.name for one in forms for column in one.fields)}
    for name in columns:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise Refusal(
                Problem.invalid_request,
                f"the table that {form.name} was learned from has no column {name[:64]!r}; {hint}",
                field=f"columns.{name[:64]}",
            )
    values: dict[str, Values] = {}
    for column in form.fields:
        try:
            values |= read_values([column], [columns])
        except DataError as error:
            raise Refusal(Problem.invalid_request, str(error), field=f"columns.{column.name}") from error
    return values


SCORE_ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/score/{trait}",
        operation="score",
        summary="Scores a form just sent.",
        description="By a trait of the run of customers, as the command that scores a table does.",
        tag=Tag.customers,
        right=Right.users,
        message=ScoreRequest,
        answer=ScoreAnswer,
        handler=ScoreRoutes.post,
        examples=examples.SCORE,
        answer_example=examples.SCORE_ANSWER,
        problems=(Problem.not_found, Problem.consent_needed, Problem.not_configured),
    ),
)
"""Its row in the table of routes."""
