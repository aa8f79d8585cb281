"""The trait `value`: the worth of each customer with a purchase who agreed to be scored."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.bundle.traits.forms.value import ValueForm
from marquee.errors import ConfigError
from marquee.marketing.reading.customers import USER_ID
from marquee.marketing.traits import TraitContext, TraitResult
from marquee.marketing.value.config import ValueConfig
from marquee.marketing.value.customer_value import CustomerValues, customer_values
from marquee.marketing.value.histories import Transactions
from marquee.marketing.versions import version_of


@dataclass(frozen=True)
class JudgedTrait:
    """Values with the settings that they were computed with.

    Attributes:
        found: The values.
        config: The settings.
        has_amounts: Whether values are money; they are purchases otherwise.
    """

    found: CustomerValues
    config: ValueConfig
    has_amounts: bool


def compute_value(name: str, config: ValueConfig, context: TraitContext) -> TraitResult:
    """Returns the value of every customer with a purchase who may be scored.

    Raises:
        ConfigError: If there is no table of transactions.
        DataError: If nobody who may be scored has a purchase.
    """
    purchases = context.customers.transactions
    if purchases is None:
        raise ConfigError(
            f"customers.traits.{name} is a value and needs purchases, got transactions={purchases}; add "
            "transactions: {path: …, columns: {user_id: …, timestamp: …, value: …}}"
        )
    allowed = context.customers.rows.select(USER_ID).filter(context.customers.may_be_scored)
    rows = purchases.rows.join(allowed.with_row_index("customer"), on=USER_ID, how="inner")
    transactions = Transactions(
        rows["customer"].cast(pl.Int64).to_numpy(),
        rows["timestamp"].cast(pl.Int64).to_numpy(),
        rows["value"].cast(pl.Float64).to_numpy() if purchases.has_values else None,
    )
    # The present is a midnight: the last second before it belongs to the last day that is known whole.
    found = customer_values(
        transactions, int(purchases.as_of) - 1, config, np.random.default_rng(context.seed)
    )
    values = pl.DataFrame(
        {
            USER_ID: allowed[USER_ID].gather(found.customer),
            name: found.value,
            f"{name}_purchases": found.purchases,
        }
    )
    version = version_of(name, config, context.version)
    form = ValueForm(
        name=name,
        version=version,
        as_of=float(purchases.as_of),
        model=None if found.reasons else found.models.as_model,
        share=config.horizon_days / max(found.observed_days, 1.0),
        horizon_days=config.horizon_days,
        discount=config.discount,
        margin=config.margin,
        has_amounts=purchases.has_values,
    )
    fallback = [f"value is past spend, as {reason}" for reason in found.reasons]
    return TraitResult(
        name=name,
        type="value",
        version=version,
        values=values,
        judged=JudgedTrait(found, config, purchases.has_values),
        cautions=(*fallback, *found.cautions),
        form=form,
    )
