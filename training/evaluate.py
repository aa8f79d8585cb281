"""`python -m training.evaluate run=…`: judges the best model of a run again, by the run's rules or others.

With `ope=…` it also estimates what a policy with that model would have earned, by the log of another one.
"""

import sys
from dataclasses import dataclass, field, replace

from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.markup import escape

from marquee.errors import ConfigError
from marquee.evaluation.off_policy.estimators import Value
from marquee.evaluation.off_policy.policy import OffPolicyChoice, PolicyOnLogConfig
from marquee.evaluation.off_policy.table import OffPolicyConfig, estimate_candidate
from marquee.nn.models import TwoTower
from marquee.reports.evidence.off_policy import off_policy_page, policy_page
from marquee.reports.evidence.page import Page, write_page
from training.cli.command import command
from training.cli.console import open_console
from training.config import EvaluationConfig, TrainConfig
from training.fitting.fit import load_model
from training.fitting.probabilities.run import read_head_of_run
from training.judging.gate import GateConfig, failures, served_bundle
from training.judging.judge import judge, show_judgement, with_served
from training.judging.surfaces import read_surfaces
from training.judging.writing import peak_memory_mb, report
from training.off_policy.choices import register_schemas
from training.off_policy.run import estimate_run
from training.off_policy.served import estimate_served
from training.runs.folders import RunFolder
from training.runs.prepare import Prepared, prepare_trained

# The choices of `ope` start from their schemas.
register_schemas()

EXIT_NOT_PASSED = 1
# As of `python -m training.off_policy`: nothing failed, but the log cannot speak of the candidate.
EXIT_NOT_IDENTIFIABLE = 3
OFF_POLICY_PAGE = "off_policy"


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
        ope: A policy with the model of the run, or a table of decisions, whose value is estimated from a log;
            with `bundle` a policy of that bundle, on the surface of `surfaces` that it names; None for none.
            The command exits with 3 where the log cannot speak about it.
    """

    run: str
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    bundle: str = ""
    surfaces: str = ""
    gate: GateConfig = field(default_factory=GateConfig)
    ope: OffPolicyChoice | None = None


@dataclass(frozen=True)
class Evaluated:
    """The outcome of a judgement.

    Attributes:
        reasons: Why the model must not be published, one sentence each.
        off_policy: The value of a candidate by a log; None if none was asked for.
    """

    reasons: tuple[str, ...]
    off_policy: Value | None


def evaluate_run(config: EvaluateConfig, overrides: list[str], console: Console) -> Evaluated:
    """Judges a run, writes the result into its folder, and returns what came of it.

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
    head = read_head_of_run(prepared.dataset, prepared.split, model, run_config, folder.path)
    judgement = judge(prepared, model, run_config, console, served, head)
    if config.bundle:
        with console.status(escape(f"asking {config.bundle}")):
            judgement = with_served(judgement, config.bundle, prepared, run_config, surfaces)
    if config.ope is not None:
        with console.status("estimating from the log"):
            if isinstance(config.ope, PolicyOnLogConfig) and config.bundle:
                policy = estimate_served(config.ope, config.bundle, surfaces, prepared, run_config)
                value = _shown(policy.found.value, policy_page(policy, run_config.data.name), folder, console)
            else:
                value = _estimate(config.ope, prepared, model, run_config, folder, console)
        judgement = replace(judgement, off_policy=value)
    page = report(prepared, judgement, run_config, folder)
    show_judgement(judgement, run_config, console)
    console.print(f"peak memory {peak_memory_mb():,.0f} MiB\nreport {page}", highlight=False, soft_wrap=True)
    reasons = list(failures(config.gate, judgement))
    # What was judged and what is served must be one model, guardrail or not.
    if judgement.served is not None and not judgement.served.is_within_tolerance:
        reasons.append(judgement.served.sentence)
    return Evaluated(tuple(reasons), judgement.off_policy)


def _estimate(
    config: OffPolicyChoice,
    prepared: Prepared,
    model: TwoTower,
    run: TrainConfig,
    folder: RunFolder,
    console: Console,
) -> Value:
    """Estimates a candidate, writes its page into the run folder, and prints the finding."""
    if isinstance(config, PolicyOnLogConfig):
        policy = estimate_run(config, prepared, model, run)
        value, page = policy.found.value, policy_page(policy, run.data.name)
    else:
        assert isinstance(config, OffPolicyConfig), f"no estimate of {type(config)} is known"
        candidate = estimate_candidate(config)
        value, page = candidate.value, off_policy_page(candidate, config.table.path)
    return _shown(value, page, folder, console)


def _shown(value: Value, page: Page, folder: RunFolder, console: Console) -> Value:
    """Writes the page of an estimate into the run folder, prints its finding, and returns its value."""
    path = write_page(page, folder.path, OFF_POLICY_PAGE)
    (finding,) = page.findings
    console.print(f"{finding.title}: {finding.text}", highlight=False, soft_wrap=True)
    console.print(f"off-policy report {path}", highlight=False, soft_wrap=True)
    return value


@command("evaluate", EvaluateConfig)
def main(config: EvaluateConfig) -> None:
    """Judges the run that the config names."""
    given = HydraConfig.get().overrides.task
    # Only what was given: defaults of this config must not replace those that the run was judged by.
    overrides = [override for override in given if override.startswith("evaluation.")]
    console = open_console()
    evaluated = evaluate_run(config, overrides, console)
    for reason in evaluated.reasons:
        console.print(f"not passed: {reason}", highlight=False, soft_wrap=True)
    if evaluated.reasons:
        sys.exit(EXIT_NOT_PASSED)
    if config.gate.guardrails:
        console.print(f"passed: {', '.join(config.gate.guardrails)}", highlight=False, soft_wrap=True)
    if evaluated.off_policy is not None and not evaluated.off_policy.support.is_identifiable:
        sys.exit(EXIT_NOT_IDENTIFIABLE)


if __name__ == "__main__":
    main()
