"""`python -m training.evaluate run=…`: judges the best model of a run again, by the run's rules or others."""

import sys
from dataclasses import dataclass, field

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from training.command import explain_errors
from training.config import EvaluationConfig
from training.fit import load_model
from training.gate import GateConfig, failures
from training.judge import judge, show_judgement
from training.prepare import prepare
from training.report import peak_memory_mb, report
from training.runs import RunFolder

EXIT_NOT_PASSED = 1


@dataclass(kw_only=True)
class EvaluateConfig:
    """What to judge, and how.

    Attributes:
        run: Folder of the run, or its `latest` file.
        evaluation: Declares the keys; what is not given on the command line is as in the run.
        gate: What must hold; the command exits with 1 where it does not.
    """

    run: str
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    gate: GateConfig = field(default_factory=GateConfig)


ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)


def evaluate_run(run: str, overrides: list[str], gate: GateConfig, console: Console) -> list[str]:
    """Judges a run, writes the result into its folder, and returns why it must not be published.

    Args:
        run: Folder of the run, or its `latest` file.
        overrides: `evaluation.key=value`, on top of the run's config.
        gate: What must hold.
        console: Shows progress and the table.
    """
    folder = RunFolder.find(run)
    config = folder.read_config(overrides)
    prepared = prepare(config, folder.path, console)
    judgement = judge(prepared, load_model(prepared.dataset, config, folder.checkpoint), config, console)
    show_judgement(judgement, config, console)
    page = report(prepared, judgement, config, folder)
    console.print(f"peak memory {peak_memory_mb():,.0f} MiB\nreport {page}", highlight=False, soft_wrap=True)
    return list(failures(gate, judgement, config.evaluation.headline_k))


@hydra.main(version_base="1.3", config_path="../configs", config_name="evaluate")
@explain_errors
def main(config: DictConfig) -> None:
    """Judges the run that the config names."""
    given = HydraConfig.get().overrides.task
    resolved = OmegaConf.to_object(config)
    assert isinstance(resolved, EvaluateConfig), f"expected EvaluateConfig, got {type(resolved)}"
    overrides = [override for override in given if override.startswith("evaluation.")]
    console = Console()
    reasons = evaluate_run(resolved.run, overrides, resolved.gate, console)
    for reason in reasons:
        console.print(f"not passed: {reason}", highlight=False, soft_wrap=True)
    if reasons:
        sys.exit(EXIT_NOT_PASSED)
    if resolved.gate.guardrails:
        console.print(f"passed: {', '.join(resolved.gate.guardrails)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
