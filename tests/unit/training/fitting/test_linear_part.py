"""The linear part of a trained model: as much as validation asks for, and the same when the run is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.embed import embed_catalog
from tests.support.small_config import small_config
from training.config import TrainConfig
from training.fitting.building import build_module
from training.fitting.checkpoints import LINEAR_FILE, read_linear_part
from training.fitting.fit import fit, load_model, ranking
from training.fitting.linear_part import add_linear_part
from training.runs.prepare import Prepared, prepare

N_TWINS = 12


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Of lists in which items come in pairs, which a matrix of all pairs sees at once."""
    folder = tmp_path_factory.mktemp("lists")
    draw = np.random.default_rng(0)
    rows = [
        f"u{user},{side}{pair}"
        for user in range(60)
        for pair in draw.permutation(N_TWINS)[:5]
        for side in ("left", "right")
    ]
    (folder / "lists.csv").write_text("\n".join(["user_id,item_id", *rows]), encoding="utf8")
    split = SplitConfig(method=SplitMethod.random, validation_fraction=0.2)
    table = TableConfig(path="lists.csv")
    data = DataConfig(name="lists", root=str(folder), events=table, time=TimeMeaning.none, split=split)
    model = TwoTowerConfig(dim=4, linear_rank=2 * N_TWINS, linear_regularization=1.0)
    return replace(small_config(data), model=model, left_open=["model.linear_weight"])


@pytest.fixture(scope="module")
def prepared(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(config, Path(tmp_path_factory.mktemp("run")), Console(quiet=True))


def test_the_weight_that_ranks_best_is_taken_and_said(
    config: TrainConfig, prepared: Prepared, tmp_path: Path
) -> None:
    assert prepared.validation is not None
    model = build_module(prepared.dataset, config).model.eval()
    judge = ranking(prepared.dataset, prepared.validation, config)
    before, _ = judge.rank(model)
    console = Console(record=True, width=300)
    found = add_linear_part(model, config, prepared.dataset, prepared.validation, tmp_path, console)
    after, _ = judge.rank(model)
    assert after > 1.2 * before
    towers = found.model.towers()
    assert (found.left_open, towers.linear_rank) == ([], 2 * N_TWINS)
    said = console.export_text()
    assert f"model.linear_weight={towers.linear_weight:g}" in said
    assert f"without {before:.4f}" in said
    assert f"{after:.4f}" in said


def test_a_part_that_adds_nothing_leaves_nothing(
    config: TrainConfig, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fitting.linear_part.MARGIN", 100.0)
    model = build_module(prepared.dataset, config).model.eval()
    width = embed_catalog(model).shape
    quiet = Console(quiet=True)
    found = add_linear_part(model, config, prepared.dataset, prepared.validation, tmp_path, quiet)
    assert (found.model.towers().linear_rank, embed_catalog(model).shape) == (0, width)
    assert list(tmp_path.iterdir()) == []


def test_without_validation_an_open_weight_leaves_the_part_out(
    config: TrainConfig, prepared: Prepared, tmp_path: Path
) -> None:
    model = build_module(prepared.dataset, config).model.eval()
    found = add_linear_part(model, config, prepared.dataset, None, tmp_path, Console(quiet=True))
    assert (found.model.towers().linear_rank, found.left_open) == (0, [])


def test_a_weight_that_is_set_holds_and_the_run_is_read_with_it(
    config: TrainConfig, prepared: Prepared, tmp_path: Path
) -> None:
    towers = config.model.towers()
    config = replace(config, left_open=[], model=TwoTowerConfig(**vars(replace(towers, linear_weight=0.5))))
    fitted = fit(prepared.dataset, None, config, tmp_path)
    found = add_linear_part(fitted.model, config, prepared.dataset, None, tmp_path, Console(quiet=True))
    assert found == config
    again = load_model(prepared.dataset, found, fitted.checkpoint)
    np.testing.assert_array_equal(embed_catalog(again), embed_catalog(fitted.model))
    assert again.out_dim == 4 + 2 * N_TWINS + 1
    (tmp_path / LINEAR_FILE).unlink()
    with pytest.raises(ConfigError, match=r"linear\.npy must hold \(.*\) numbers of the linear part"):
        load_model(prepared.dataset, found, fitted.checkpoint)


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / LINEAR_FILE, np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(ConfigError, match=r"must hold \(3, 4\) numbers .* got \(3, 2\); train again"):
        read_linear_part(tmp_path, (3, 4))
