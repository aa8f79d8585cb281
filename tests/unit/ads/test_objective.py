"""The one declaration of what a click, a conversion and revenue are worth, and its one reader."""

from pathlib import Path

import pytest

from marquee.ads.objective import Objective, read_objective
from marquee.errors import ConfigError
from tests.support.paths import CONFIGS


def test_committed_file_is_read(tmp_path: Path) -> None:
    found = read_objective(CONFIGS / "objective.yaml")
    assert found == Objective(click=0.02, conversion=1.0, revenue=1.0, diversity=0.0)
    assert found.verbatim == "click 0.02, conversion 1, revenue 1, diversity 0"
    assert read_objective("") == Objective()
    (tmp_path / "own.yaml").write_text("click: 0.5\n")
    assert read_objective(tmp_path / "own.yaml") == Objective(click=0.5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("clicks: 1", "clicks in .* is unknown, expected one of"),
        ("click: -1", "objective.click must be"),
        ("click: .nan", "objective.click must be"),
        ("revenue: 0", "objective.revenue must be above 0"),
        ("- 1", "must name a file of worths"),
        ("click: much", "must name a file of worths"),
    ],
)
def test_file_that_is_none_is_refused(tmp_path: Path, said: str, expected: str) -> None:
    (tmp_path / "own.yaml").write_text(f"{said}\n")
    with pytest.raises(ConfigError, match=expected):
        read_objective(tmp_path / "own.yaml")
    with pytest.raises(ConfigError, match="must name a file of worths"):
        read_objective(tmp_path / "nowhere.yaml")
