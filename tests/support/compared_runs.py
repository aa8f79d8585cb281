"""Runs with made-up values per user, to be compared."""

import numpy as np

from marquee.evaluation.comparison import JudgedUsers
from marquee.reports import ComparedRun, compare_runs, render_comparison

N_USERS = 400


def judged_users(seed: int, better_by: float = 0.0, n_users: int = N_USERS, **facts: str) -> JudgedUsers:
    values = np.random.default_rng(seed).random(n_users) * 0.5 + better_by
    return JudgedUsers(
        model="model",
        dataset="world",
        fingerprint=facts.get("fingerprint", "sha256:1"),
        split="by time",
        part="test",
        n_items=30,
        headline="ndcg@10",
        user_ids=tuple(f"ü-{user}" for user in range(n_users)),
        targets=np.arange(n_users, dtype=np.uint32),
        values={"ndcg@10": values, "recall@10": values / 2, "ndcg@5": values},
    )


def compared_run(name: str, users: JudgedUsers, **settings: str) -> ComparedRun:
    return ComparedRun(name, users, settings)


def compared_page() -> str:
    """Returns a page of three runs with long names, a warning and settings that differ."""
    runs = [
        compared_run("20260105-120000-001", judged_users(0), **{"model.dim": "32"}),
        compared_run("20260105-130000-002", judged_users(1, 0.2), **{"model.dim": "64"}),
        compared_run("20260105-140000-003", judged_users(2, fingerprint="sha256:2"), **{"model.dim": "64"}),
    ]
    return render_comparison(compare_runs(runs))
