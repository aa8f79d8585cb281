"""The tables of the ledger, in the SQL that both stores speak; `?` and `ledger_` are theirs to translate."""

MONEY_TABLES = """
CREATE TABLE IF NOT EXISTS ledger_accounts(
    campaign_id TEXT NOT NULL, day TEXT NOT NULL, budget BIGINT, version BIGINT NOT NULL,
    charged BIGINT NOT NULL DEFAULT 0, held BIGINT NOT NULL DEFAULT 0, n_sold BIGINT NOT NULL DEFAULT 0,
    n_charged BIGINT NOT NULL DEFAULT 0, n_unbilled BIGINT NOT NULL DEFAULT 0,
    unbilled BIGINT NOT NULL DEFAULT 0, PRIMARY KEY(campaign_id, day)
);
CREATE TABLE IF NOT EXISTS ledger_leases(
    number BIGINT PRIMARY KEY, holder TEXT NOT NULL, campaign_id TEXT NOT NULL, day TEXT NOT NULL,
    amount BIGINT NOT NULL, used BIGINT NOT NULL, ends_ms BIGINT NOT NULL, is_open INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS ledger_reservations(
    decision_id TEXT NOT NULL, item_id TEXT NOT NULL, campaign_id TEXT NOT NULL, day TEXT NOT NULL,
    bid_type TEXT NOT NULL, price BIGINT NOT NULL, reserve BIGINT NOT NULL, until_ms BIGINT NOT NULL,
    state TEXT NOT NULL, PRIMARY KEY(decision_id, item_id)
);
CREATE INDEX IF NOT EXISTS open_by_time ON ledger_reservations(until_ms) WHERE state = 'open';
CREATE TABLE IF NOT EXISTS ledger_early(
    decision_id TEXT NOT NULL, item_id TEXT NOT NULL, kind TEXT NOT NULL, received_ms BIGINT NOT NULL,
    PRIMARY KEY(decision_id, item_id, kind)
);
CREATE TABLE IF NOT EXISTS ledger_settled(
    decision_id TEXT NOT NULL, item_id TEXT NOT NULL, price BIGINT NOT NULL, received_ms BIGINT NOT NULL,
    PRIMARY KEY(decision_id, item_id)
);
CREATE TABLE IF NOT EXISTS ledger_fading(
    decision_id TEXT NOT NULL, item_id TEXT NOT NULL, made_ms BIGINT NOT NULL, window_ms BIGINT NOT NULL,
    reserve BIGINT NOT NULL, next_ms BIGINT NOT NULL, step INTEGER NOT NULL, PRIMARY KEY(decision_id, item_id)
);
CREATE INDEX IF NOT EXISTS fading_by_time ON ledger_fading(next_ms);
CREATE TABLE IF NOT EXISTS ledger_delays(
    campaign_id TEXT NOT NULL, bucket INTEGER NOT NULL, n BIGINT NOT NULL, PRIMARY KEY(campaign_id, bucket)
);
CREATE TABLE IF NOT EXISTS ledger_traffic(
    surface TEXT NOT NULL, hour BIGINT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY(surface, hour)
);
CREATE TABLE IF NOT EXISTS ledger_marks(name TEXT PRIMARY KEY, value BIGINT NOT NULL);
"""

CAP_TABLES = """
CREATE TABLE IF NOT EXISTS ledger_shown(user_id TEXT NOT NULL, key TEXT NOT NULL, time_ms BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS ledger_shown_marks(name TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE INDEX IF NOT EXISTS shown_by_user ON ledger_shown(user_id, time_ms);
CREATE INDEX IF NOT EXISTS shown_by_time ON ledger_shown(time_ms);
"""
