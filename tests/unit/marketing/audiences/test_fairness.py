"""Gaps of audiences: true ones are found, equal groups left in peace, and no count of few people is shown."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marquee.errors import ConfigError
from marquee.evaluation.analyses.fairness import BoundFinding, GapFinding
from marquee.marketing.audiences.fairness import AudienceGaps, audience_gaps
from marquee.marketing.audiences.members import choose_members, with_gaps
from marquee.marketing.cells import MIN_CELL
from marquee.marketing.config import AudienceConfig, CustomersConfig


def gaps_of(
    sizes: dict[str | None, tuple[int, int]], bound: float | None = None, *, is_ordered: bool = False
) -> AudienceGaps:
    """Returns the gaps of groups, each of so many people and so many members, who stand first to last."""
    groups = [name for name, (n, _) in sizes.items() for _ in range(n)]
    is_member = [row < members for n, members in sizes.values() for row in range(n)]
    ids = pl.Series("user_id", [f"u{row}" for row in range(len(groups))])
    chosen = ids.filter(pl.Series(is_member))
    members = pl.DataFrame(
        {"user_id": chosen, "position": pl.Series(range(1, len(chosen) + 1), dtype=pl.Int64)}
    )
    return audience_gaps(
        "town",
        pl.Series("town", groups, pl.String),
        ids,
        members,
        is_ordered=is_ordered,
        gap_at_most=bound,
    )


def test_true_gap_is_found_with_its_interval() -> None:
    gaps = gaps_of({"north": (1000, 400), "south": (1000, 300)})
    north, south = gaps.groups
    assert (north.n, north.members, north.why) == (1000, 400, "")
    assert north.rate is not None
    assert north.rate.mean == 0.4
    assert north.rate.low == pytest.approx(0.37, abs=0.001)  # 0.4 less 1.96 sqrt(0.24 / 1000)
    assert gaps.largest is not None
    assert (gaps.largest.higher, gaps.largest.lower) == ("north", "south")
    assert gaps.largest.finding is GapFinding.differs
    assert gaps.largest.difference is not None
    assert gaps.largest.difference.low == pytest.approx(0.0585, abs=0.001)
    assert south.exposure is None


def test_equal_groups_are_flagged_seldom() -> None:
    rng = np.random.default_rng(0)
    n_worlds, n_flagged = 200, 0
    for _ in range(n_worlds):
        found = rng.binomial(400, 0.3, 4).tolist()
        largest = gaps_of({name: (400, n) for name, n in zip("abcd", found, strict=True)}).largest
        assert largest is not None
        n_flagged += largest.finding is GapFinding.differs
    assert n_flagged <= 0.05 * n_worlds


def test_exposure_is_that_of_the_places_of_a_group() -> None:
    gaps = gaps_of({"north": (200, 60), "south": (200, 50), "east": (200, 0)}, is_ordered=True)
    weight = 1 / np.log2(np.arange(1, 111) + 1)
    of = {group.name: group.exposure for group in gaps.groups}
    assert of["east"] is not None
    assert of["east"].mean == 0.0
    north = of["north"]
    assert north is not None
    assert north.mean == pytest.approx(weight[:60].sum() / 200 / (weight.sum() / 600))
    assert gaps.exposure is not None
    assert gaps.exposure.higher == "north"


def test_rows_without_a_group_are_one_and_small_ones_are_named() -> None:
    gaps = gaps_of({None: (200, 100), "": (100, 50), "north": (400, 200), "south": (400, 200), "x": (7, 3)})
    of = {group.name: group for group in gaps.groups}
    assert of["(none)"].n is None  # the smallest of the others: all less them would tell the seven
    assert "would tell" in of["(none)"].why
    assert of["x"].why == "fewer than 50 people"
    assert (of["north"].n, of["north"].members) == (400, 200)
    assert gaps.largest is not None


def test_group_that_is_left_out_does_not_hide_behind_the_floor() -> None:
    gaps = gaps_of({"north": (1000, 400), "south": (1000, 12), "west": (1000, 390)}, 0.2)
    of = {group.name: group for group in gaps.groups}
    assert (of["south"].n, of["south"].members, of["south"].rate) == (1000, None, None)
    assert of["south"].why == "fewer than 50 members"
    assert of["west"].members is None  # or the rest would be south's
    assert gaps.largest is not None
    assert (gaps.largest.lower, gaps.largest.finding) == ("south", GapFinding.differs)
    assert gaps.largest.difference is None
    assert gaps.largest.bound is BoundFinding.fails


def test_what_is_hidden_is_judged_by_its_safer_end() -> None:
    # 5 of 120 may be 49 of 120 as well, which is no more than 25 %.
    largest = gaps_of({"north": (2000, 500), "south": (120, 5), "west": (2000, 500)}).largest
    assert largest is not None
    assert largest.finding is GapFinding.cannot_tell


@settings(deadline=None)
@given(
    st.lists(
        st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
        min_size=1,
        max_size=6,
    )
)
@example([(1, 1), (60, 0), (70, 0)])
@example([(251, 1), (253, 0), (49, 48), (51, 0)])
def test_no_small_count_can_be_had_by_subtraction(cells: list[tuple[int, int]]) -> None:
    sizes: dict[str | None, tuple[int, int]] = {f"g{at}": cell for at, cell in enumerate(cells)}
    gaps = gaps_of(sizes, is_ordered=True)
    hidden_n = [sizes[group.name][0] for group in gaps.groups if group.n is None]
    assert not 0 < sum(hidden_n) < MIN_CELL or len(hidden_n) == len(gaps.groups)
    hidden = [sizes[group.name] for group in gaps.groups if group.members is None]
    for group in gaps.groups:
        n, members = sizes[group.name]
        assert group.n in (None, n)
        assert (group.members is None) == (group.rate is None)
        is_small = 0 < members < MIN_CELL or 0 < n - members < MIN_CELL or n < MIN_CELL
        assert not is_small or (group.members, group.exposure) == (None, None)
    # All that can be computed is the sum over those hidden. Where the others have nobody it is the sum over
    # all groups, which the audience's own size tells.
    for of_hidden, of_all in (
        ([members for _, members in hidden], [members for _, members in cells]),
        ([n - members for n, members in hidden], [n - members for n, members in cells]),
    ):
        assert not 0 < sum(of_hidden) < MIN_CELL or sum(of_hidden) == sum(of_all)


ROWS = pl.DataFrame(
    {
        "user_id": [f"u{row:04d}" for row in range(2000)],
        "score": [row / 2000 for row in range(2000)],
        "town": ["north" if row % 3 else "south" for row in range(2000)],
        "age": [float(20 + row % 50) for row in range(2000)],
    }
)


def test_audience_beyond_its_bound_is_refused_and_another_is_not() -> None:
    for where, is_refused in (("town = 'north'", True), ("score > 0.5", False)):
        config = AudienceConfig(where=where, order="score", gap_at_most=0.1)
        audience = with_gaps(choose_members("keep", config, ROWS, 0, {}), config, ROWS, ["town", "age"])
        assert bool(audience.refused) is is_refused
        assert [gaps.column for gaps in audience.gaps] == ["town", "age"]
        assert [group.name for group in audience.gaps[1].groups] == [f"quarter {n}" for n in range(1, 5)]
    assert (
        "chooses town = north more often"
        in with_gaps(
            replace(choose_members("keep", config, ROWS.filter(town="north"), 0, {}), refused=""),
            replace(config, gap_at_most=0.1),
            ROWS,
            ["town"],
        ).refused
    )


def test_audience_below_its_floor_tells_nothing_of_groups() -> None:
    config = AudienceConfig(where="score > 0.97")
    audience = with_gaps(choose_members("keep", config, ROWS, 0, {}), config, ROWS, ["town"])
    assert audience.members.height == 59
    assert audience.gaps == ()


def test_bound_without_protected_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gap_at_most must lie in \[0, 1\), got 2"):
        AudienceConfig(gap_at_most=2.0)
    table = {"path": "t.csv"}
    with pytest.raises(ConfigError, match="needs columns whose groups are compared, got none"):
        CustomersConfig(name="t", users=table, audiences={"keep": AudienceConfig(gap_at_most=0.1)})  # type: ignore[arg-type]
