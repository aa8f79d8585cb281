"""Short fits choose a temperature and leave nothing; a trained model is ranked with several bias scales."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from marquee.nn.losses import SampledSoftmaxConfig
from tests.support.small_config import small_config
from training.config import TrainConfig
from training.fitting import probing
from training.fitting.building import build_module
from training.fitting.fit import ranking
from training.fitting.probing import Probe, choose_bias_scale, settle_and_probe
from training.runs.prepare import Prepared, prepare

OPEN = ["loss.temperature", "model.bias_scale"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Of lists without time, with both knobs open."""
    folder = tmp_path_factory.mktemp("lists")
    draw = np.random.default_rng(0)
    rows = [f"u{user},i{item}" for user in range(30) for item in draw.permutation(20)[:8]]
    (folder / "lists.csv").write_text("\n".join(["user_id,item_id", *rows]), encoding="utf8")
    split = SplitConfig(method=SplitMethod.random, validation_fraction=0.2)
    table = TableConfig(path="lists.csv")
    data = DataConfig(name="lists", root=str(folder), events=table, time=TimeMeaning.none, split=split)
    return replace(small_config(data), left_open=OPEN)


@pytest.fixture(scope="module")
def prepared(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(config, Path(tmp_path_factory.mktemp("run")), Console(quiet=True))


def temperature_of(config: TrainConfig) -> float:
    assert isinstance(config.loss, SampledSoftmaxConfig)
    return config.loss.temperature


@pytest.mark.parametrize(
    ("ndcgs", "wanted", "n_fits"),
    [({0.2: 0.3, 0.12: 0.301}, 0.2, 2), ({0.2: 0.1, 0.12: 0.2, 0.08: 0.2}, 0.12, 3)],
)
def test_temperatures_sink_as_long_as_that_helps(
    config: TrainConfig,
    prepared: Prepared,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ndcgs: dict[float, float],
    wanted: float,
    n_fits: int,
) -> None:
    asked = []

    def told(_config: TrainConfig, temperature: float, *_others: object) -> Probe:
        asked.append(temperature)
        return Probe(temperature, ndcgs[temperature])

    monkeypatch.setattr(probing, "_probe", told)
    console = Console(record=True, width=200)
    found = settle_and_probe(config, prepared.dataset, prepared.validation, tmp_path, console)
    assert (temperature_of(found), len(asked)) == (wanted, n_fits)
    assert f"loss.temperature={wanted} because" in console.export_text()


def test_short_fits_leave_nothing_behind(config: TrainConfig, prepared: Prepared, tmp_path: Path) -> None:
    found = settle_and_probe(config, prepared.dataset, prepared.validation, tmp_path, Console(quiet=True))
    assert temperature_of(found) in probing.TEMPERATURES
    assert list(tmp_path.iterdir()) == []


def test_without_validation_or_an_open_knob_nothing_is_probed(
    config: TrainConfig, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probing, "_probe", None)
    quiet = Console(quiet=True)
    settle_and_probe(config, prepared.dataset, None, tmp_path, quiet)
    closed = replace(config, left_open=[])
    assert (
        settle_and_probe(closed, prepared.dataset, prepared.validation, tmp_path, quiet).loss == config.loss
    )


def test_the_bias_scale_that_ranks_best_is_the_models_and_the_configs(
    config: TrainConfig, prepared: Prepared
) -> None:
    model = build_module(prepared.dataset, config).model.eval()
    console = Console(record=True, width=200)
    found = choose_bias_scale(model, config, prepared.dataset, prepared.validation, console)
    assert found.left_open == ["loss.temperature"]  # what another step chooses stays open
    assert found.model.towers().bias_scale == model.item_tower.bias_scale
    assert f"model.bias_scale={model.item_tower.bias_scale:g} because" in console.export_text()
    assert choose_bias_scale(model, found, prepared.dataset, prepared.validation, console) == found


def test_the_same_few_users_are_ranked_each_time(config: TrainConfig, prepared: Prepared) -> None:
    assert prepared.validation is not None
    few = replace(config, trainer=replace(config.trainer, validation_users=7))
    first, again = (ranking(prepared.dataset, prepared.validation, few) for _ in range(2))
    assert len(first.queries) == len(first.task.targets) == 7
    assert first.queries.user_index.tolist() == again.queries.user_index.tolist()
    assert len(ranking(prepared.dataset, prepared.validation, config).queries) > 7
