"""Has a person decide what is shown: pins an item, after it was tried on the log, and takes it out again."""

import time

from rich.console import Console
from rich.markup import escape

from demo.errors import DemoError
from demo.questions import Question, choose_questions, titles
from marquee.bundle.bundle import Bundle
from marquee.client import (
    Client,
    DryRunAnswer,
    DryRunRequest,
    PinMessage,
    RecommendAnswer,
    RuleMessage,
    RulesRequest,
    ServiceError,
)

_SAMPLE = 100
_RULE = "the demo's choice"


def pin_an_item(console: Console, client: Client, bundle: Bundle, k: int) -> list[str]:
    """Pins an item that a known user was not shown, and asks again; the rules are then as before.

    Returns:
        Reasons why the answer makes no sense; none if it does.

    Raises:
        DemoError: If the service takes no rules, or gives no answer.
    """
    question = next(one for one in choose_questions(bundle, k) if one.user_id in bundle.user_ids)
    try:
        before = client.recommend(question.request())
        item_id = _other_item(bundle, question, before)
        rule = RuleMessage(
            id=_RULE, author="the demo", note="to see it", pin=[PinMessage(item_id=item_id, place=1)]
        )
        held = client.rules()
        wanted = (*held.rules, rule)
        _show_trial(console, client.try_rules(DryRunRequest(rules=wanted, sample=_SAMPLE)), item_id, bundle)
        put = client.put_rules(RulesRequest(rules=wanted), held.version)
        try:
            after = client.recommend(question.request())
        finally:
            # As it was, whatever came: the bundle may be served on, and the log trains the next one.
            client.put_rules(RulesRequest(rules=held.rules), put.version)
    except ServiceError as error:
        raise DemoError(f"the service did not take part in the rules: {error}") from error
    console.print(
        f"{escape(question.user_id or '')} is shown it first, by rules {escape(str(list(after.rules)))} of "
        f"version {put.version}; version {put.version + 1} takes it out again",
        highlight=False,
    )
    return [] if after.items and after.items[0].item_id == item_id else [f"{item_id} is pinned, not first"]


def _other_item(bundle: Bundle, question: Question, answer: RecommendAnswer) -> str:
    """Returns an item of the kind that is asked for, which may be shown and was not."""
    shown = {item.item_id for item in answer.items} | question.seen
    allowed = bundle.catalog.allowed(question.kind, int(time.time()))
    ids = bundle.catalog.item_ids.decode(allowed.item_index)
    return next(item_id for item_id in reversed(ids) if item_id not in shown)


def _show_trial(console: Console, trial: DryRunAnswer, item_id: str, bundle: Bundle) -> None:
    """Prints what a pin would change."""
    name = titles(bundle.catalog).get(item_id, item_id)
    clicks = trial.predicted_clicks
    told = f"{clicks.before:.1f} → {clicks.after:.1f}" if clicks else "nothing on record predicts them"
    console.print(
        f"\n{escape(name)} in front would change {trial.changed} of {trial.asked} answers on record; "
        f"clicks: {told}",
        highlight=False,
    )
