"""Draws of rows: by lot, with enough of an outcome that hardly ever comes."""

import numpy as np

from marquee.marketing.probability.audits import MAX_AUDITED, audit_leaks
from marquee.marketing.scoring.encoding import Ages
from marquee.marketing.scoring.folds import draw_rows


def test_a_draw_by_lot_is_of_so_many_rows() -> None:
    drawn = draw_rows(np.arange(5_000) % 2 == 0, 2_000, seed=0)
    assert len(drawn) == len(np.unique(drawn)) == 2_000
    assert (np.diff(drawn) > 0).all()


def test_a_rare_outcome_is_audited_in_a_table_of_which_rows_are_drawn() -> None:
    outcome = np.zeros(20 * MAX_AUDITED, np.bool_)
    outcome[:40] = True
    assert outcome[draw_rows(outcome, MAX_AUDITED, seed=1)].sum() == 40
    values = {"x": np.random.default_rng(0).normal(size=len(outcome))}
    leaks, alone = audit_leaks(values, outcome, Ages(), 1, [])
    assert leaks == ()
    assert alone["x"] < 0.8
