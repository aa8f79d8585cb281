"""Has one answer explained: why each item, and what its score would be without what the user did."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.errors import DemoError
from demo.questions import choose_questions, titles
from marquee.bundle.bundle import Bundle
from marquee.client import Client, ServiceError, WhyAnswer, WhyItem

_AGREES = "agrees"


def explain_an_answer(console: Console, client: Client, bundle: Bundle, k: int) -> list[str]:
    """Asks for a known user, and then why each item was shown.

    Returns:
        Reasons why the explanation makes no sense; none if it does.

    Raises:
        DemoError: If the service explains nothing, or gives no answer.
    """
    question = next(one for one in choose_questions(bundle, k) if one.user_id in bundle.user_ids)
    try:
        answer = client.recommend(question.request())
        if answer.decision_id is None:
            raise DemoError(
                "an answer must name its decision, got none; the service must record (MARQUEE_EVENTS)"
            )
        why = client.why(answer.decision_id)
    except ServiceError as error:
        raise DemoError(f"the service explained no answer: {error}") from error
    _show(console, why, question.user_id or "", titles(bundle.catalog))
    if why.replay.outcome != _AGREES:
        return [f"decision {answer.decision_id}, asked again, is another: {why.replay.why}"]
    return []


def _show(console: Console, why: WhyAnswer, user_id: str, names: Mapping[str, str]) -> None:
    """Prints the sentence of each item with the event that it owes most to."""
    console.print(
        f"\n[bold]why {escape(user_id)} was shown these[/]\n[dim]{escape(why.replay.why)}[/]", highlight=False
    )
    table = Table()
    for heading in ("item", "because", "owes most to", "score", "without it"):
        table.add_column(heading, justify="right" if heading in ("score", "without it") else "left")
    for item in why.items:
        event, without = _largest(item, why.record.history)
        left = "" if without is None else f"{without:.4f}"
        cells = (names.get(item.item_id, item.item_id), item.because, names.get(event, event))
        table.add_row(*map(escape, cells), f"{item.score:.4f}", left)
    console.print(table)
    stages = " → ".join(f"{stage.n_left:,} {stage.stage}" for stage in why.stages)
    console.print(stages, markup=False, highlight=False)


def _largest(item: WhyItem, history: tuple[str, ...]) -> tuple[str, float | None]:
    """Returns the event without which the score would be lowest, and that score; '' and None for none."""
    told = [
        (score, event)
        for event, score in zip(history, item.without_events, strict=False)
        if score is not None
    ]
    return min(told)[::-1] if told else ("", None)
