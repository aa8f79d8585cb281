"""The results of a search: the content of its page, its files, and the table in the terminal."""

import json
import platform
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime

import optuna
import psutil
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from marquee.reports.study import Outcome, StudyContent, TriedSettings, render_study
from training.tuning.config import KnobValue, TuneConfig

RESULT_FILE = "study.json"
PAGE = "study.html"
REASON = "reason"
EPOCHS, SECONDS = "epochs", "seconds"
MIN_TRIALS_FOR_IMPORTANCE = 8  # with fewer, the share of a knob is that of chance
SHOWN_TRIALS = 10
GIB = 2**30
OUTCOME_OF = {
    TrialState.COMPLETE: Outcome.finished,
    TrialState.PRUNED: Outcome.pruned,
    TrialState.FAIL: Outcome.failed,
}


def study_content(study: optuna.Study, config: TuneConfig) -> StudyContent:
    """Returns the content of the study's page and numbers."""
    trials = [_tried(trial) for trial in study.trials if trial.state.is_finished()]
    return StudyContent(
        name=config.search.name,
        dataset=config.data.name,
        metric=f"validation ndcg@{config.evaluation.headline_k}",
        trials=trials,
        logarithmic=[key for key, knob in config.search.space.items() if knob.log],
        importance=_importance(study),
        command=_command(config),
    )


def _tried(trial: FrozenTrial) -> TriedSettings:
    """Returns settings and outcome of one trial."""
    return TriedSettings(
        number=trial.number,
        outcome=OUTCOME_OF[trial.state],
        # Of a pruned trial as well: what it had reached is what pruned it.
        value=max(trial.intermediate_values.values(), default=None),
        knobs=dict(trial.params),
        epochs=int(trial.user_attrs.get(EPOCHS, 0)),
        seconds=float(trial.user_attrs.get(SECONDS, 0.0)),
        reason=str(trial.user_attrs.get(REASON, "it was killed" if trial.state is TrialState.FAIL else "")),
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    """Returns each knob's share of what sets good trials apart, largest first.

    Source:
        Watanabe et al. 2023, IJCAI, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
        Arbitrary Subspaces".
    """
    if len(study.get_trials(states=(TrialState.COMPLETE,))) < MIN_TRIALS_FOR_IMPORTANCE:
        return {}
    return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _command(config: TuneConfig) -> str:
    """Returns how to train with the best settings, as a person can paste it into a shell."""
    words = ["python", "-m", "training.train"]
    given: list[str] = []
    data, own = config.data.name, None
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        # The name of the file: `data.name` may say otherwise.
        data = hydra.runtime.choices["data"]
        own = next((s.path for s in hydra.runtime.config_sources if s.provider == "command-line"), None)
        # What the search itself decided stands in the experiment that it wrote.
        given = [one for one in hydra.overrides.task if not _is_of_search(one, config.search.space)]
    if own is None:
        words += ["--config-dir", str(config.folder)]
    else:
        # Hydra takes one --config-dir, and the data are declared in the user's.
        words += ["--config-dir", own, f"hydra.searchpath=[file://{config.folder.absolute()}]"]
    return shlex.join([*words, f"data={data}", *given, f"experiment={config.search.name}"])


def _is_of_search(override: str, space: Mapping[str, object]) -> bool:
    """Returns whether an override is the search's own, or of a knob whose best value was found."""
    key = override.partition("=")[0].lstrip("+~")
    return key in ("data", "search", "experiment", *space) or key.startswith(("search.", "hydra."))


def write_results(content: StudyContent, config: TuneConfig) -> None:
    """Writes page, numbers and, if a trial finished, the best settings as an experiment."""
    (config.folder / PAGE).write_text(render_study(content), encoding="utf-8")
    numbers = json.dumps(content.to_json_dict(), indent=1)
    (config.folder / RESULT_FILE).write_text(numbers, encoding="utf-8")
    # All trials failed or were pruned: there are no best settings to write.
    if content.best is None:
        return
    path = config.folder / "experiment" / f"{content.name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(_experiment(content, content.best), encoding="utf-8")


def _experiment(content: StudyContent, best: TriedSettings) -> str:
    """Returns the best settings as an experiment, with a head that says where they come from."""
    body = OmegaConf.create({})
    for key, value in best.knobs.items():
        OmegaConf.update(body, key, value)
    # Whoever repeats it must know on which machine it took so long.
    memory = psutil.virtual_memory().total / GIB
    seconds = sum(trial.seconds for trial in content.trials)
    return (
        "# @package _global_\n"
        f"# Question   Which settings rank the validation part of {content.dataset} best?\n"
        f"# Command    {content.command}\n"
        f"# Expected   {content.metric} {best.value:.4f}, the best of {len(content.trials)} trials\n"
        f"# Made       {datetime.now(UTC):%Y-%m-%d}, {seconds:,.0f} s of trials, {psutil.cpu_count()} cores, "
        f"{memory:.0f} GiB, Python {platform.python_version()}\n" + OmegaConf.to_yaml(body)
    )


def show_results(content: StudyContent, config: TuneConfig, console: Console) -> None:
    """Prints the best trials and what mattered."""
    table = Table(title=f"{content.metric}: best of {len(content.trials)} trials")
    table.add_column("trial", justify="right")
    table.add_column("value", justify="right")
    knobs = list(config.search.space)
    for knob in knobs:
        table.add_column(knob.replace(".", ".\n"), justify="right", overflow="fold")
    table.add_column("outcome")
    # By number where values are equal: the same study prints the same table.
    ranked = sorted(content.trials, key=lambda trial: (-(trial.value or 0.0), trial.number))
    for trial in ranked[:SHOWN_TRIALS]:
        value = "-" if trial.value is None else f"{trial.value:.4f}"
        shown = [in_short(trial.knobs[knob]) if knob in trial.knobs else "-" for knob in knobs]
        table.add_row(str(trial.number), value, *shown, trial.outcome)
    console.print(table, soft_wrap=False)
    if content.importance:
        shares = ", ".join(f"{key} {share:.2f}" for key, share in content.importance.items())
        console.print(f"what mattered: {shares}", highlight=False, soft_wrap=True)
    if content.best is not None:
        console.print(f"train with the best: {content.command}", highlight=False, soft_wrap=True)
    console.print(f"page {config.folder / PAGE}", highlight=False, soft_wrap=True)


def in_short(value: KnobValue) -> str:
    """Returns a value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
