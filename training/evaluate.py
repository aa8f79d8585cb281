"""`python -m training.evaluate run=…`: judges the best model of a run again, by the run's rules or others."""

from dataclasses import dataclass, field

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from training.command import explain_errors
from training.config import EvaluationConfig
from training.fit import load_model
from training.judge import judge, show_judgement
from training.prepare import prepare
from training.report import peak_memory_mb, report
from training.runs import RunFolder


@dataclass(kw_only=True)
class EvaluateConfig:
    """What to judge, and how.

    Attributes:
        run: Folder of the run, or its `latest` file.
        evaluation: Declares the keys; what is not given on the command line is as in the run.
    """

    run: str
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)


def evaluate_run(run: str, overrides: list[str], console: Console) -> RunFolder:
    """Judges a run and writes the result into its folder.

    Args:
        run: Folder of the run, or its `latest` file.
        overrides: `evaluation.key=value`, on top of the run's config.
        console: Shows progress and the table.
    """
    folder = RunFolder.find(run)
    config = folder.read_config(overrides)
    prepared = prepare(config, folder.path, console)
    judgement = judge(prepared, load_model(prepared.dataset, config, folder.checkpoint), config, console)
    show_judgement(judgement, config, console)
    page = report(prepared, judgement, config, folder)
    console.print(f"peak memory {peak_memory_mb():,.0f} MiB\nreport {page}", highlight=False, soft_wrap=True)
    return folder


@hydra.main(version_base="1.3", config_path="../configs", config_name="evaluate")
@explain_errors
def main(config: DictConfig) -> None:
    """Judges the run that the config names."""
    given = HydraConfig.get().overrides.task
    evaluate_run(config.run, [o for o in given if o.startswith("evaluation.")], Console())


if __name__ == "__main__":
    main()
