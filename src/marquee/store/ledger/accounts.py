"""Accounts of the ledger: one for the flight of a campaign and one for each of its days."""

from marquee.store.campaigns.campaign import HeldCampaign
from marquee.store.ledger.rows import FLIGHT, Account, Books, Limits

COLUMNS = "campaign_id, day, budget, charged, held, n_sold, n_charged, n_unbilled, unbilled"
_INSERT = """INSERT INTO ledger_accounts AS account(campaign_id, day, budget, version) VALUES (?, ?, ?, ?)
    ON CONFLICT(campaign_id, day) DO UPDATE SET budget = excluded.budget, version = excluded.version
    WHERE account.version < excluded.version"""


def limits_of(held: HeldCampaign | None, campaign_id: str, day: str) -> Limits:
    """Returns the limits of a campaign on a day: nothing may be spent of one that nobody knows."""
    if held is None:
        return Limits(campaign_id, day, 0, None, 0)
    campaign = held.campaign
    return Limits(campaign_id, day, campaign.total_budget, campaign.daily_budget, held.version)


def open_accounts(books: Books, limits: Limits) -> None:
    """Makes the accounts of a flight and a day if need be, and gives them the budgets that hold now."""
    rows = ((FLIGHT, limits.total), (limits.day, limits.daily))
    # In one order everywhere, or two who open both would wait for each other.
    books.run_many(_INSERT, [(limits.campaign_id, day, budget, limits.version) for day, budget in rows])


def read_accounts(books: Books, campaign_id: str, day: str) -> list[Account]:
    """Returns the accounts of a flight and a day."""
    statement = f"SELECT {COLUMNS} FROM ledger_accounts WHERE campaign_id = ? AND day IN ('', ?) ORDER BY day"
    return [Account(*row) for row in books.run(statement, (campaign_id, day))]


def hold(books: Books, campaign_id: str, day: str, amount: int) -> None:
    """Holds more of the money of a flight and a day, or less."""
    books.run(
        "UPDATE ledger_accounts SET held = held + ? WHERE campaign_id = ? AND day IN ('', ?)",
        (amount, campaign_id, day),
    )
