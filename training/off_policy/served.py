"""Estimates a surface of a published bundle, by what the log of a run's data shows of another policy."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import ConfigError
from marquee.evaluation.analyses.served import rewind
from marquee.evaluation.analyses.served_surfaces import SurfaceRules
from marquee.evaluation.off_policy.logged import UNKNOWN, Spread
from marquee.evaluation.off_policy.policy import EstimatedPolicy, PolicyOnLogConfig
from marquee.evaluation.off_policy.served import spread_answers
from training.config import TrainConfig
from training.off_policy.run import LoggedPart, estimate_spreads, read_logged_part
from training.runs.prepare import Prepared


def estimate_served(
    config: PolicyOnLogConfig,
    bundle_path: str,
    surfaces: tuple[SurfaceRules, ...],
    prepared: Prepared,
    run: TrainConfig,
) -> EstimatedPolicy:
    """Estimates what a bundle would have earned on the judged part of the log, asked as its service is.

    Args:
        config: The policy, and which lists are asked; its surface is one of `surfaces`, where there are any.
        bundle_path: A bundle, or the folder of its versions.
        surfaces: Of the bundle: filters and re-ranking.
        prepared: The data of the run.
        run: Says which part is judged.

    Raises:
        BundleError: If there is no sound bundle.
        ConfigError: If the surface is none of those of the bundle.
        DataError: If the log cannot be used, or the bundle counts other kinds of events.
    """
    rules = _rules(config, surfaces)
    part = read_logged_part(config, prepared, run)
    dataset = prepared.dataset
    counted = next(iter(dataset.kinds.configs))
    asked = dataset.judged_part(part.before, part.asked.with_columns(kind=pl.lit(counted)))
    bundle = Bundle.load(Path(bundle_path))
    # Histories as they were before the part: the bundle itself may know what is asked for.
    rewound = rewind(bundle, asked.user_ids, asked.known, dataset.item_ids, dataset.kinds)
    requests = _requests(config, rules, part, run)
    spreads = _spreads(Recommender(rewound), requests, part, dataset.item_ids)
    return estimate_spreads(config, part, spreads, f"{config.policy} of bundle {bundle.version}")


def _rules(config: PolicyOnLogConfig, surfaces: tuple[SurfaceRules, ...]) -> SurfaceRules:
    """Returns the rules of the surface that is asked for; those of none where the bundle declares none."""
    if not surfaces:
        return SurfaceRules(name=config.surface, kind=config.kind)
    for rules in surfaces:
        if rules.name == config.surface:
            return rules
    raise ConfigError(
        f"ope.surface must be one of {[rules.name for rules in surfaces]}, got {config.surface!r}; name one, "
        "or leave surfaces out"
    )


def _requests(
    config: PolicyOnLogConfig, rules: SurfaceRules, part: LoggedPart, run: TrainConfig
) -> list[Request]:
    """Returns the request of each list, as the surface would have it answered."""
    columns = {feature.column or name for name, feature in run.data.features.context.items()}
    # The moment of a request is a field of its own.
    columns = (columns & set(part.asked.columns)) - {"timestamp"}
    first = part.asked.unique("request_id", keep="first", maintain_order=True)
    return [
        Request(
            user_id=str(row["user_id"]),
            timestamp=int(row["timestamp"]),
            k=part.log.n_places,
            # A missing value is not sent: null is no category.
            context={column: row[column] for column in columns if row[column] is not None},
            kind=rules.kind,
            filters=rules.filters,
            reranking=rules.reranking,
            exclude_seen=rules.exclude_seen,
            surface=config.surface or None,
            exploration=config.exploration,
            decision_id=str(row["request_id"]),
        )
        for row in first.select("request_id", "user_id", "timestamp", *sorted(columns)).to_dicts()
    ]


def _spreads(
    recommender: Recommender, requests: list[Request], part: LoggedPart, item_ids: IdMap
) -> Iterator[Spread]:
    """Yields the probabilities of the service at the places of each list, items by number of the log."""
    names = ["", *item_ids.ids]
    answers = [[names[item] for item in row[row != UNKNOWN].tolist()] for row in part.log.item]
    for row, (items, chances) in enumerate(spread_answers(recommender, requests, answers)):
        number = item_ids.encode(list(items))
        # Shown items outside the catalog are of no number: their places are asked with the others left out.
        is_known = part.log.item[row] != UNKNOWN
        full = np.zeros((part.log.n_places, chances.shape[1]))
        full[np.flatnonzero(is_known)] = chances
        yield Spread(np.where(number == PADDING_INDEX, UNKNOWN, number), full)
