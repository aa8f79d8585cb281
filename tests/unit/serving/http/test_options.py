"""Options of `bentoml serve` without effect stop the start."""

import click
import pytest

from marquee.errors import ConfigError
from serving.http.options import SETTING_OF_OPTION, validate_options


@click.command()
@click.option("--api-workers", type=int)
@click.option("--timeout", type=int)
@click.option("--timeout-keep-alive", type=int)
@click.option("--port", type=int)
def serve(**_given: int | None) -> None:
    validate_options()


@pytest.mark.parametrize(("option", "variable"), SETTING_OF_OPTION.items())
def test_option_that_a_setting_decides_is_refused(option: str, variable: str) -> None:
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(ConfigError, match=f"{flag} 4 has no effect here; set {variable} in its place"):
        serve.main([flag, "4"], standalone_mode=False)


def test_other_options_are_none_of_its_business() -> None:
    serve.main(["--port", "3000"], standalone_mode=False)


def test_start_without_a_command_line_is_left_alone() -> None:
    validate_options()
