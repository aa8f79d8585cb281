"""The output of the demo: headings, one table per answer, and where everything lies."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.questions import Question
from marquee.client import RecommendAnswer
from marquee.core.catalog import ItemKind

_TITLE_WIDTH = 60
_PLURALS = {ItemKind.content: "content", ItemKind.ad: "ads"}


def show_step(console: Console, number: int, n_steps: int, title: str) -> None:
    """Prints the heading of a step."""
    console.print()
    console.rule(f"[bold]{number}/{n_steps}[/] {escape(title)}", align="left")


def show_answer(
    console: Console,
    question: Question,
    answer: RecommendAnswer,
    latency_ms: float,
    titles: Mapping[str, str],
    wrong: Sequence[str],
) -> None:
    """Prints one question and its answer as a table, and in red what is wrong with it."""
    asker = f"{question.who} ({question.user_id})" if question.user_id else question.who
    heading = f"\n[bold]{_PLURALS[question.kind]} for {escape(asker)}[/]"
    if question.recent:
        heading += "\n[dim]whose latest items are " + escape(_named(question.recent, titles)) + "[/]"
    console.print(heading, highlight=False)
    table = Table()
    table.add_column("", justify="right", style="dim")
    table.add_column("item")
    if titles:
        table.add_column("title", max_width=_TITLE_WIDTH, overflow="ellipsis", no_wrap=True)
    table.add_column("kind")
    table.add_column("score", justify="right")
    for place, item in enumerate(answer.items, start=1):
        title = [escape(titles.get(item.item_id, ""))] if titles else []
        # Ids and titles are data: a bracket in one of them is no markup of Rich's.
        table.add_row(str(place), escape(item.item_id), *title, escape(item.kind), f"{item.score:.4f}")
    console.print(table)
    rests_on = [f"source: {answer.source}", f"{latency_ms:.1f} ms", answer.short_reason or ""]
    console.print(" · ".join(part for part in rests_on if part), markup=False, highlight=False)
    for problem in wrong:
        console.print(f"[bold red]wrong:[/] {escape(problem)}", highlight=False)


def show_end(console: Console, paths: Mapping[str, str], next_steps: Mapping[str, str]) -> None:
    """Prints where everything lies and what to try next; a line is never broken, so that it can be copied."""
    console.print()
    console.rule("[bold]where it lies[/]", align="left")
    width = max(len(name) for name in (*paths, *next_steps))
    for name, path in paths.items():
        console.print(f"{name:{width}s}  {path}", soft_wrap=True, markup=False, highlight=False)
    console.print()
    console.rule("[bold]what to try next[/]", align="left")
    for name, command in next_steps.items():
        console.print(f"{name:{width}s}  {command}", soft_wrap=True, markup=False, highlight=False)


def _named(item_ids: Sequence[str], titles: Mapping[str, str]) -> str:
    """Returns items by title where they have one, else by id."""
    return " · ".join(titles.get(item_id, item_id) for item_id in item_ids)
