"""The lists of a log as arrays, and a candidate's probabilities of them.

Mixed logging policies need no care but one: each place carries the propensity of the policy that chose it. A
policy that never explores says nothing of others, so its answers are left out, and counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.errors import DataError
from marquee.evaluation.off_policy.reward_model import fit_place_model
from marquee.evaluation.off_policy.slates import LoggedSlates
from marquee.evaluation.off_policy.weights import validate_propensities

UNKNOWN = -1
"""Number of an item that the log, or the candidate, does not know; also where a list has no place."""


@dataclass(frozen=True)
class SlateLog:
    """Lists that a log shows, in the order of their first row.

    Attributes:
        request_ids: Of each list, (n,).
        item: Number of the item at each place, (n, k) int64, `UNKNOWN` where there is none.
        reward: That came of it, (n, k); NaN where a list has no such place.
        propensity: (n, k), 1 where a list has no such place.
        user: Number of the user of each list, (n,) int64.
        policies: Policy → its lists; without a column the log is of one, "".
        left_out: Policy that never explored → its lists, which are not among these.
    """

    request_ids: Sequence[str]
    item: IndexArray
    reward: Float64Array
    propensity: Float64Array
    user: IndexArray
    policies: dict[str, int]
    left_out: dict[str, int]

    @property
    def n_places(self) -> int:
        """Places of the longest list."""
        return int(self.reward.shape[1])

    def first(self, n_places: int) -> "SlateLog":
        """Returns the lists with their first places alone."""
        return replace(
            self,
            item=self.item[:, :n_places],
            reward=self.reward[:, :n_places],
            propensity=self.propensity[:, :n_places],
        )


def read_slates(rows: pl.DataFrame, max_lists: int, generator: np.random.Generator) -> SlateLog:
    """Returns the lists of a table of exposures.

    Args:
        rows: `request_id`, `user_id`, `position`, `number` of the item (`UNKNOWN` for none), `propensity` and
            `reward`; with `policy` where the log names it.
        max_lists: Lists that are read at most; of more, so many are drawn.
        generator: Draws them.

    Raises:
        DataError: If there are none, if propensities are missing or cannot be used, or if no policy explored.
    """
    if not rows.height:
        raise DataError("the log must hold exposures, got none; name another surface, kind or part")
    # Before anything is left out: the message counts all that are wrong.
    propensity = rows["propensity"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    validate_propensities(propensity)
    if "policy" not in rows.columns:
        rows = rows.with_columns(policy=pl.lit(""))
    rows = rows.with_columns(pl.col("policy").cast(pl.String).fill_null(""))
    lists_of = dict(rows.group_by("policy").agg(pl.col("request_id").n_unique()).sort("policy").iter_rows())
    explores = rows.group_by("policy").agg((pl.col("propensity") < 1).any().alias("explores"))
    silent = set(explores.filter(~pl.col("explores"))["policy"])
    rows = rows.filter(~pl.col("policy").is_in(list(silent)))
    ids = rows["request_id"].unique(maintain_order=True)
    if len(ids) > max_lists:
        ids = ids.gather(np.sort(generator.permutation(len(ids))[:max_lists]))
    order = pl.DataFrame({"request_id": ids, "row": np.arange(len(ids))})
    placed = (
        rows.join(order, on="request_id", how="inner")
        .sort("row", "position", maintain_order=True)
        .with_columns(place=pl.int_range(pl.len()).over("row"))
    )
    row, place = placed["row"].to_numpy(), placed["place"].to_numpy()
    shape = (len(ids), int(place.max()) + 1)
    item, reward, own = np.full(shape, UNKNOWN), np.full(shape, np.nan), np.ones(shape)
    item[row, place] = placed["number"].to_numpy()
    reward[row, place] = placed["reward"].cast(pl.Float64).to_numpy()
    own[row, place] = placed["propensity"].to_numpy()
    users = placed.unique("row", keep="first", maintain_order=True)["user_id"].to_numpy()
    return SlateLog(
        request_ids=ids.to_list(),
        item=item,
        reward=reward,
        propensity=own,
        user=np.unique(users, return_inverse=True)[1].astype(np.int64),
        policies={name: n for name, n in lists_of.items() if name not in silent},
        left_out={name: n for name, n in lists_of.items() if name in silent},
    )


class Spread(NamedTuple):
    """A candidate's probabilities at the places of one list, given what the log put above each.

    Attributes:
        items: Number of each item that it considers, (n_candidates,) int64, `UNKNOWN` for one that the log
            does not know.
        chances: Probability of each at each place, (n_places, n_candidates).
    """

    items: IndexArray
    chances: Float64Array


def weigh_candidate(
    log: SlateLog, spreads: Iterable[Spread], was_shown: BoolArray, generator: np.random.Generator
) -> LoggedSlates:
    """Returns the lists with the probabilities of a candidate, and with what a reward model says of it.

    Args:
        log: The lists.
        spreads: Of the candidate, one per list, in their order.
        was_shown: Which items the log has shown at all, by number, (n_items,): what it never has is without
            support.
        generator: Draws the folds of the reward model.
    """
    model = fit_place_model(log.item, log.reward, log.user, len(was_shown), generator)
    target, unsupported, predicted, expected = (np.zeros(log.reward.shape) for _ in range(4))
    for row, spread in enumerate(spreads):
        # An item that the log does not know, whatever stands last in the table, was never shown.
        is_new = ~np.where(spread.items >= 0, was_shown[spread.items], False)
        for place in range(int((~np.isnan(log.reward[row])).sum())):
            chances, item = spread.chances[place], log.item[row, place]
            target[row, place] = chances[spread.items == item].sum() if item >= 0 else 0.0
            # A candidate with nothing to put here would have left the place empty, which no log can show.
            unsupported[row, place] = chances[is_new].sum() + max(0.0, 1.0 - chances.sum())
            expected[row, place] = chances @ model.predict(row, place, spread.items)
            predicted[row, place] = model.predict(row, place, log.item[row, place : place + 1])[0]
    # Sums of shares may end a bit above 1.
    return LoggedSlates(
        log.reward,
        log.propensity,
        np.minimum(target, 1.0),
        log.user,
        np.clip(unsupported, 0.0, 1.0),
        predicted,
        expected,
    )
