"""`python -m training.evaluate run=…`: judges the best model of a run again, by the run's rules or others."""

import sys
from dataclasses import dataclass, field

from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.markup import escape

from marquee.errors import ConfigError
from training.cli.command import command
from training.cli.console import open_console
from training.config import EvaluationConfig
from training.fitting.fit import load_model
from training.judging.gate import GateConfig, failures, served_bundle
from training.judging.judge import judge, show_judgement, with_served
from training.judging.surfaces import read_surfaces
from training.judging.writing import peak_memory_mb, report
from training.runs.folders import RunFolder
from training.runs.prepare import prepare_trained

EXIT_NOT_PASSED = 1


@dataclass(kw_only=True)
class EvaluateConfig:
    """The settings of a judgement.

    Attributes:
        run: Folder of the run, or `latest`.
        evaluation: Declares the keys; what is not given on the command line is as in the run.
        bundle: A bundle, or the folder of its versions, to ask the same users through; empty for none. The
            command exits with 1 where what it answers is not what was judged.
        surfaces: A file of surfaces, to ask the same users on those of the bundle, by their filters and
            re-ranking; empty for none.
        gate: What must hold; the command exits with 1 where it does not.
    """

    run: str
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    bundle: str = ""
    surfaces: str = ""
    gate: GateConfig = field(default_factory=GateConfig)


def evaluate_run(config: EvaluateConfig, overrides: list[str], console: Console) -> list[str]:
    """Judges a run, writes the result into its folder, and returns why it must not be published.

    Args:
        config: What to judge and what must hold.
        overrides: `evaluation.key=value`, on top of the run's config.
        console: Shows progress and the table.

    Raises:
        ConfigError: If there is no such run, or no such surfaces.
        BundleError: If the gate compares with a bundle that cannot be used.
    """
    if config.surfaces and not config.bundle:
        raise ConfigError(f"surfaces={config.surfaces} needs the bundle that they answer from; add bundle=…")
    # First: a fault in the file is told before the model is loaded and judged.
    surfaces = read_surfaces(config.surfaces, config.bundle) if config.surfaces else ()
    served = served_bundle(config.gate)
    folder = RunFolder.find(config.run)
    run_config = folder.read_config(overrides)
    prepared = prepare_trained(run_config, folder.path, console)
    model = load_model(prepared.dataset, run_config, folder.checkpoint)
    judgement = judge(prepared, model, run_config, console, served)
    if config.bundle:
        with console.status(escape(f"asking {config.bundle}")):
            judgement = with_served(judgement, config.bundle, prepared, run_config, surfaces)
    page = report(prepared, judgement, run_config, folder)
    show_judgement(judgement, run_config, console)
    console.print(f"peak memory {peak_memory_mb():,.0f} MiB\nreport {page}", highlight=False, soft_wrap=True)
    reasons = list(failures(config.gate, judgement))
    # What was judged and what is served must be one model, guardrail or not.
    if judgement.served is not None and not judgement.served.is_within_tolerance:
        reasons.append(judgement.served.sentence)
    return reasons


@command("evaluate", EvaluateConfig)
def main(config: EvaluateConfig) -> None:
    """Judges the run that the config names."""
    given = HydraConfig.get().overrides.task
    # Only what was given: defaults of this config must not replace those that the run was judged by.
    overrides = [override for override in given if override.startswith("evaluation.")]
    console = open_console()
    reasons = evaluate_run(config, overrides, console)
    for reason in reasons:
        console.print(f"not passed: {reason}", highlight=False, soft_wrap=True)
    if reasons:
        sys.exit(EXIT_NOT_PASSED)
    if config.gate.guardrails:
        console.print(f"passed: {', '.join(config.gate.guardrails)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
