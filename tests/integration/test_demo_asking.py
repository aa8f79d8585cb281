"""The demo asks a real service for all that it promises, and says when an answer makes no sense."""

from collections.abc import Iterator

import pytest
from rich.console import Console

from demo.__main__ import ask, ask_everything
from demo.deciding import pin_an_item
from demo.errors import DemoError
from demo.explaining import explain_an_answer
from demo.processes import free_port, running_server, service_command, service_environment
from demo.questions import choose_questions, item_kinds, titles
from demo.telling import EventLoop, click_and_ask_again
from marquee.bundle.bundle import Bundle
from marquee.client import Client, RecommendRequest
from marquee.core.catalog import ItemKind
from tests.support.bundles import publish_tiny


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


@pytest.fixture(scope="module")
def client(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    loop = EventLoop.make(folder / "loop")
    own = {"BENTOML_HOME": str(folder)}
    environment = {**service_environment(bundle.path), **own, **loop.environment}
    address = f"http://127.0.0.1:{port}"
    with (
        running_server(service_command(port), environment, address, folder / "log"),
        Client(address, key=loop.key, deadline_s=10) as client,
    ):
        yield client


@pytest.mark.server
def test_every_answer_makes_sense_and_is_shown(client: Client, bundle: Bundle) -> None:
    console = Console(record=True, width=120)
    assert ask_everything(console, client, bundle) == []
    shown = console.export_text()
    for heading in (
        "content for a known user (u",
        "content for an unknown user",
        "ads for an anonymous history",
    ):
        assert heading in shown
    assert "source: personal" in shown
    assert "source: popular" in shown


@pytest.mark.server
def test_refusal_is_shown_with_its_reason(client: Client) -> None:
    with pytest.raises(DemoError, match=r"no answer to .*k=0.*: 422 .*k must be"):
        ask(client, RecommendRequest(k=0))


@pytest.mark.server
def test_click_changes_the_next_answer(client: Client, bundle: Bundle) -> None:
    console = Console(record=True, width=120)
    assert click_and_ask_again(console, client, bundle, 5) == []
    shown = console.export_text()
    assert "1 event is on disk" in shown
    assert "content for the same user" in shown
    assert "source: history" in shown


@pytest.mark.server
def test_pinned_item_is_first_and_the_rules_are_as_before(client: Client, bundle: Bundle) -> None:
    console = Console(record=True, width=200)
    before = client.rules()
    assert pin_an_item(console, client, bundle, 5) == []
    shown = console.export_text()
    assert "answers on record" in shown
    assert 'by rules ["the demo\'s choice"] of version' in shown
    after = client.rules()
    assert (after.version, after.rules) == (before.version + 2, before.rules)
    assert [change.changed_by for change in client.rule_history(limit=2).changes] == ["demo", "demo"]


@pytest.mark.server
def test_one_answer_is_explained(client: Client, bundle: Bundle) -> None:
    console = Console(record=True, width=200)
    assert explain_an_answer(console, client, bundle, 5) == []
    shown = console.export_text()
    assert "asked again, the release gives the same answer" in shown
    assert "owes most to" in shown
    assert "5 answer" in shown


def test_silence_is_told() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(DemoError, match="is the service running"),
    ):
        ask(client, RecommendRequest())


def test_questions_are_three_askers_for_each_kind(bundle: Bundle) -> None:
    questions = choose_questions(bundle, k=3)
    assert [question.kind for question in questions] == [ItemKind.content] * 3 + [ItemKind.ad] * 3
    known, unknown, anonymous = questions[:3]
    assert known.user_id in bundle.user_ids
    assert known.seen
    assert unknown.user_id not in bundle.user_ids
    assert anonymous.user_id is None
    assert set(anonymous.history) <= set(bundle.catalog.item_ids.ids)


def test_tiny_catalog_holds_both_kinds(bundle: Bundle) -> None:
    assert item_kinds(bundle.catalog) == [ItemKind.content, ItemKind.ad]
    assert titles(bundle.catalog).keys() <= set(bundle.catalog.item_ids.ids)
