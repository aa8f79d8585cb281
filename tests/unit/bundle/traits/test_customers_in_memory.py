"""The customers of a run in memory: the names by which people may be targeted."""

from pathlib import Path

import polars as pl
import pytest

from marquee.bundle.traits.customers import CustomersInMemory
from marquee.bundle.traits.run import CustomersRun
from tests.support.customers_run import write_run

USERS = {"user_id": ["u1", "u2", "u3", "u4"]}


@pytest.mark.parametrize(
    ("column", "segments"),
    [
        ({"segment": ["loyal", "lost", None, "loyal"]}, {"loyal", "lost"}),
        ({"segment": [1, 2, 3, 4]}, set()),  # a number is no name
        ({"group": ["loyal", "lost", None, "loyal"]}, set()),
    ],
    ids=["texts", "numbers", "another column"],
)
def test_segments_are_those_that_somebody_is_in(
    tmp_path: Path, column: dict[str, list[object]], segments: set[str]
) -> None:
    run = write_run(tmp_path / "run", pl.DataFrame(USERS | column))
    assert CustomersInMemory(CustomersRun.open(run)).facts.segments == segments
