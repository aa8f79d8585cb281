"""Options of `bentoml serve` that have no effect, because a setting decides: refused, not ignored."""

import click

from marquee.errors import ConfigError

SETTING_OF_OPTION = {
    "api_workers": "MARQUEE_WORKERS",
    "timeout": "MARQUEE_DEADLINE_MS",
    "timeout_keep_alive": "MARQUEE_KEEP_ALIVE_MS",
}
"""Each option, as click names it, and the variable to be set in its place."""


def validate_options() -> None:
    """Raises ConfigError if the command line that started this process gives an option without effect."""
    # None where no command line started this process, as in tests.
    context = click.get_current_context(silent=True)
    for option, variable in SETTING_OF_OPTION.items():
        value = context.params.get(option) if context else None
        if value is not None:
            raise ConfigError(
                f"--{option.replace('_', '-')} {value} has no effect here; set {variable} in its place"
            )
