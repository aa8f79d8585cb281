"""Which code shows each type of trait."""

from marquee.reports.customers.parts import View
from marquee.reports.customers.probability import probability_part

VIEWS: dict[str, View] = {
    "probability": probability_part,
}
