"""Rows on uplift: e-mails to customers of a shop, drawn by lot."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.customers.probabilities import compute
from benchmarks.rows import Measured, Row
from marquee.data.table_config import TableConfig
from marquee.marketing.config import CustomersConfig
from marquee.marketing.uplift.trait import JudgedUplift

EFFECTS = {"women": 0.0452, "men": 0.0766}
TOLERANCE = 1e-4


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "uplift, hillstrom visits, women's mail",
        "effect +0.0452; Qini 0.061, by response 0.036",
        "be within 1e-4; Qini 0.045 or more and above response",
        lambda: women(root),
    )
    yield Row(
        "uplift, hillstrom visits, men's mail",
        "effect +0.0766; Qini 0.011, by response 0.027",
        'be within 1e-4; say "target by response"',
        lambda: men(root),
    )


def women(root: Path) -> Measured:
    """Measures the mail with women's goods."""
    judged, text = measure(root, "women")
    own, response = judged.orders[0].qini.mean, judged.orders[-1].qini.mean
    return Measured(text, within(judged, "women") and own >= 0.045 and own > response)


def men(root: Path) -> Measured:
    """Measures the mail with men's goods."""
    judged, text = measure(root, "men")
    return Measured(text, within(judged, "men") and judged.verdict == "target by response")


def measure(root: Path, goods: str) -> tuple[JudgedUplift, str]:
    """Returns an uplift, and what it says."""
    config = CustomersConfig(
        name="hillstrom",
        root=str(root / "hillstrom"),
        users=TableConfig(path="hillstrom.csv"),
        known_after=["conversion", "spend"],
        traits={
            "lift": {
                "type": "uplift",
                "outcome": "visit = 1",
                "treated": f"segment = '{goods.capitalize()}s E-Mail'",
                "control": "segment = 'No E-Mail'",
            }
        },
    )
    judged = compute(config).traits[0].judged
    assert isinstance(judged, JudgedUplift), f"the first trait is a {type(judged)}"
    orders = ", ".join(f"{order.name} {order.qini.mean:.3f}" for order in judged.orders)
    return judged, f"effect {judged.effect.mean:+.5f}, Qini {orders}: {judged.verdict}"


def within(judged: JudgedUplift, goods: str) -> bool:
    """Returns whether the effect on all is the published one."""
    return abs(judged.effect.mean - EFFECTS[goods]) <= TOLERANCE
