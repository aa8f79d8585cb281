"""It learns: the loss falls, and where a best answer is provable the model finds it."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.reading.tables import TableConfig
from marquee.data.splits import SplitConfig, SplitMethod
from marquee.index.ranking import rank
from marquee.nn.architectures import (
    ELSAConfig,
    MatrixFactorizationConfig,
    ModelConfig,
    SASRecConfig,
    TwoTowerConfig,
)
from marquee.nn.embed import score_queries
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.initialisation.tables import SpectralInitialisationConfig
from marquee.nn.losses import BPRConfig, LossConfig, SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import (
    CatalogNegativesConfig,
    CatalogSampler,
    MixedNegativesConfig,
    NegativesConfig,
)
from marquee.nn.optimizers import LazyAdamConfig, OptimizerConfig, RowwiseAdagradConfig
from marquee.nn.scoring import loss_in_blocks
from marquee.world import ChequerBoard, chequer_board
from tests.support.small_data import Prepared, write_board
from tests.support.small_models import N_ITEMS, small_batch, small_inputs
from training.config import ExamplesConfig, ExampleUnit, TrainConfig, TrainerConfig
from training.fitting.building import build_module
from training.fitting.fit import fit
from training.fitting.module import RetrievalModule

HISTORY_ALONE = TwoTowerConfig(dim=16, user_id=False, query_features=False, item_features=False)
MIXED = MixedNegativesConfig(n_uniform=20)
ADAM = LazyAdamConfig(learning_rate=0.03)


@pytest.fixture(scope="module")
def board() -> ChequerBoard:
    return chequer_board()


@pytest.fixture(scope="module")
def prepared(board: ChequerBoard, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_board(board, tmp_path_factory.mktemp("board")))


@pytest.mark.parametrize(
    ("model", "loss", "negatives", "optimizer", "epochs"),
    [
        (HISTORY_ALONE, SampledSoftmaxConfig(), MIXED, ADAM, 6),
        (
            HISTORY_ALONE,
            SampledSoftmaxConfig(),
            CatalogNegativesConfig(),
            RowwiseAdagradConfig(learning_rate=0.1),
            6,
        ),
        (MatrixFactorizationConfig(dim=16), SampledSoftmaxConfig(), MIXED, ADAM, 20),
        (MatrixFactorizationConfig(dim=16), BPRConfig(), MIXED, ADAM, 15),
    ],
    ids=["two_tower", "two_tower-catalog-adagrad", "matrix_factorization", "matrix_factorization-bpr"],
)
def test_best_answer_on_the_chequer_board_is_found(
    prepared: Prepared,
    board: ChequerBoard,
    tmp_path: Path,
    model: ModelConfig,
    loss: LossConfig,
    negatives: NegativesConfig,
    optimizer: OptimizerConfig,
    epochs: int,
) -> None:
    config = TrainConfig(
        data=prepared.config,
        model=model,
        loss=loss,
        negatives=negatives,
        optimizer=optimizer,
        examples=ExamplesConfig(batch_size=128),
        trainer=TrainerConfig(epochs=epochs, accelerator="cpu"),
    )
    assert share_of_best_answers(fit(prepared.dataset, None, config, tmp_path).model, prepared, board) >= 0.98


def test_spectral_start_finds_the_best_answer_before_the_first_step(
    prepared: Prepared, board: ChequerBoard
) -> None:
    config = TrainConfig(
        data=prepared.config,
        model=HISTORY_ALONE,
        loss=SampledSoftmaxConfig(),
        negatives=MIXED,
        optimizer=ADAM,
    )
    model = build_module(prepared.dataset, config).model.eval()
    SpectralInitialisationConfig().apply(model, prepared.dataset, seed=1)
    assert share_of_best_answers(model, prepared, board) >= 0.98


def share_of_best_answers(model: TwoTower, prepared: Prepared, board: ChequerBoard) -> float:
    """Returns how many of the 50 users get what was hidden from training as their first answer."""
    before = pl.concat([prepared.split.train, prepared.split.validation])
    part = prepared.dataset.judged_part(before, prepared.split.test)
    scores = score_queries(model, part.queries)
    first = rank(scores, len(part.queries), prepared.dataset.n_items, 1, part.seen).items[:, 0]
    hidden = [board.hidden[user] for user in part.user_ids]
    found = [
        best == target for best, target in zip(prepared.dataset.item_ids.decode(first), hidden, strict=True)
    ]
    assert len(found) == 50
    return sum(found) / len(found)


N_STATIONS = 12


def write_walks(folder: Path) -> DataConfig:
    """Writes users who go round a ring of stations, half of them one way, half the other, twice and more.

    What comes next is certain to whoever looks at the order of the last two; all have been everywhere.
    """
    walks = [
        (f"u{user:02}", f"s{(user + way * time) % N_STATIONS:02}", time, "click")
        for user in range(60)
        for way in [1 if user % 2 else -1]
        for time in range(2 * N_STATIONS + 1)
    ]
    frame = pl.DataFrame(walks, schema=["user_id", "item_id", "timestamp", "kind"], orient="row")
    folder.mkdir()
    frame.write_parquet(folder / "events.parquet")
    return DataConfig(
        name="walks",
        root=str(folder),
        events=TableConfig(path="events.parquet"),
        time=TimeMeaning.order,
        split=SplitConfig(method=SplitMethod.leave_last),
        history_length=2 * N_STATIONS,
    )


def hits_of_walks(folder: Path, model: ModelConfig, examples: ExamplesConfig, epochs: int) -> float:
    """Returns the share of users whose next station a model ranks first."""
    prepared = Prepared.read(write_walks(folder))
    config = TrainConfig(
        data=prepared.config,
        model=model,
        loss=SampledSoftmaxConfig(),
        negatives=CatalogNegativesConfig(),
        optimizer=LazyAdamConfig(learning_rate=0.02),
        examples=examples,
        trainer=TrainerConfig(epochs=epochs, accelerator="cpu"),
    )
    fitted = fit(prepared.dataset, None, config, folder)
    before = pl.concat([prepared.split.train, prepared.split.validation])
    part = prepared.dataset.judged_part(before, prepared.split.test)
    ranking = rank(score_queries(fitted.model, part.queries), len(part.queries), N_STATIONS, 1)
    return float((ranking.items[:, 0] == part.targets.item_index).mean())


def test_transformer_learns_an_order_that_a_mean_cannot_tell(tmp_path: Path) -> None:
    ordered = SASRecConfig(dim=16, n_heads=2)
    mean = replace(HISTORY_ALONE, history_pooling=HistoryPooling.mean, history_dropout=0.0)
    by_sequence = ExamplesConfig(batch_size=200)
    assert hits_of_walks(tmp_path / "a", ordered, by_sequence, epochs=16) >= 0.98
    assert hits_of_walks(tmp_path / "b", mean, ExamplesConfig(batch_size=128), epochs=12) <= 0.4


@pytest.mark.parametrize("unit", list(ExampleUnit))
def test_transformer_learns_from_every_unit(prepared: Prepared, unit: ExampleUnit) -> None:
    config = TrainConfig(
        data=prepared.config,
        model=SASRecConfig(dim=16),
        loss=SampledSoftmaxConfig(),
        negatives=MIXED,
        optimizer=ADAM,
        examples=ExamplesConfig(unit=unit, batch_size=64),
    )
    module = build_module(prepared.dataset, config)
    steps = config.optimizer.build(module.parameters())
    losses = []
    for epoch in range(4):
        batches = module.batches(epoch)
        for number in range(len(batches)):
            batch = batches[number]
            embedded = module.model.embed_batch(
                batch, module.sampler.sample(batch.target_item, module.generator)
            )
            loss = loss_in_blocks(embedded, batch.weight, module.loss)
            steps.zero_grad()
            torch.autograd.backward(loss)
            steps.step()
            losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


STEADY = TwoTowerConfig(dim=8, dropout=0.0, history_dropout=0.0, user_id_dropout=0.0, item_id_dropout=0.0)
MODELS: dict[str, ModelConfig] = {
    "everything": replace(STEADY, hidden=8),
    "no_user_id": replace(STEADY, user_id=False),
    "no_item_id": replace(STEADY, item_id=False),
    "no_query_features": replace(STEADY, query_features=False),
    "no_item_features": replace(STEADY, item_features=False),
    "no_history": replace(STEADY, history=False),
    "history_mean": replace(STEADY, history_pooling=HistoryPooling.mean),
    "history_attention": replace(STEADY, history_pooling=HistoryPooling.attention),
    "history_transformer": replace(STEADY, history_pooling=HistoryPooling.transformer),
    "raw": replace(STEADY, normalise=False),
    "no_bias": replace(STEADY, item_bias=False),
    "with_dropout": TwoTowerConfig(dim=8, hidden=8),
    "matrix_factorization": MatrixFactorizationConfig(dim=8),
    "elsa": ELSAConfig(dim=8),
}


@pytest.mark.parametrize(
    ("loss", "optimizer"),
    [
        (SampledSoftmaxConfig(temperature=0.5), ADAM),
        (BPRConfig(), RowwiseAdagradConfig(learning_rate=0.1)),
    ],
    ids=["softmax-adam", "bpr-adagrad"],
)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_loss_falls_on_one_batch(model: ModelConfig, loss: LossConfig, optimizer: OptimizerConfig) -> None:
    torch.manual_seed(0)
    tower = model.build(small_inputs()).train()
    batch = small_batch(3)
    sampler = MixedNegativesConfig(n_uniform=16).build(torch.ones(N_ITEMS + 1))
    measure, steps = loss.build(), optimizer.build(tower.parameters())
    losses = []
    for _ in range(40):
        negatives = sampler.sample(batch.target_item, torch.Generator().manual_seed(1))
        value = measure(tower(batch, negatives), batch.weight)
        steps.zero_grad()
        torch.autograd.backward(value)
        steps.step()
        losses.append(value.item())
    assert sum(losses[-5:]) / 5 < 0.65 * losses[0]


def test_untrained_model_of_a_config_depends_on_the_seed_alone(prepared: Prepared) -> None:
    config = TrainConfig(
        data=prepared.config, model=HISTORY_ALONE, loss=BPRConfig(), negatives=MIXED, optimizer=ADAM, seed=3
    )
    first, again = (build_module(prepared.dataset, config).state_dict() for _ in range(2))
    other = build_module(prepared.dataset, replace(config, seed=4)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.item_table.weight"], other["model.item_table.weight"])


def test_candidates_are_drawn_where_the_model_is() -> None:
    """On a device the sampler's tables stand beside the batches; the model says where that is."""
    sampler = CatalogSampler(torch.ones(N_ITEMS + 1))
    module = RetrievalModule(
        TwoTower(STEADY, small_inputs()),
        SampledSoftmaxConfig().build(),
        sampler,
        LazyAdamConfig(),
        lambda _: pytest.fail("no batch is wanted"),
        seed=1,
    ).to("meta")
    module.on_fit_start()
    assert isinstance(module.sampler, CatalogSampler)
    assert module.sampler.counts.device.type == "meta"
