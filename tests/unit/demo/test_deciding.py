"""The demo's own rule is taken out again, also where the answer that was to show it did not come."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo.deciding import pin_an_item
from demo.errors import DemoError
from marquee.bundle.bundle import Bundle
from marquee.client import (
    DryRunAnswer,
    RecommendAnswer,
    RecommendRequest,
    RulesAnswer,
    RulesRequest,
    ServiceError,
)
from tests.support.bundles import publish_tiny


class Service:
    """A service that takes rules and fails at its second answer."""

    def __init__(self) -> None:
        self.held: tuple[Any, ...] = ()
        self.version = self.n_asked = 0

    def rules(self) -> RulesAnswer:
        return RulesAnswer(version=self.version, rules=self.held, changed=0, changed_by="")

    def put_rules(self, request: RulesRequest, version: int) -> RulesAnswer:
        assert version == self.version
        self.held, self.version = tuple(request.rules), version + 1
        return self.rules()

    def try_rules(self, _request: object) -> DryRunAnswer:
        return DryRunAnswer(version=0, asked=0, left_out=0, changed=0, gaining=(), losing=(), applied={})

    def recommend(self, _request: RecommendRequest) -> RecommendAnswer:
        self.n_asked += 1
        if self.n_asked > 1:
            assert [rule.id for rule in self.held] == ["the demo's choice"]
            raise ServiceError("gone")
        return RecommendAnswer(request_id="", version="", source="", requested=3, returned=0, items=())


def test_rules_are_as_before_when_the_answer_fails(tmp_path: Path) -> None:
    service = Service()
    bundle = Bundle.load(publish_tiny(tmp_path))
    with pytest.raises(DemoError, match="gone"):
        pin_an_item(Console(quiet=True), service, bundle, 3)  # type: ignore[arg-type] # what the demo asks of it
    assert (service.version, service.held) == (2, ())
