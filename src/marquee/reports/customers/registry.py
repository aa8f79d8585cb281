"""Which code shows each type of trait."""

from marquee.reports.customers.forecast import forecast_part
from marquee.reports.customers.parts import View
from marquee.reports.customers.probability import probability_part
from marquee.reports.customers.segments import segments_part
from marquee.reports.customers.sentiment import sentiment_part
from marquee.reports.customers.uplift import uplift_part
from marquee.reports.customers.value import value_part

VIEWS: dict[str, View] = {
    "probability": probability_part,
    "value": value_part,
    "segment": segments_part,
    "uplift": uplift_part,
    "sentiment": sentiment_part,
    "forecast": forecast_part,
}
