"""Consent: how much of a person an answer may rest on, in three tiers.

```
personal   everything that is known of the user
segment    what the request declares of user and moment, through the lists of popular items: no id, no history
none       what is popular at the moment that the request declares
```
"""

from collections.abc import Iterable
from enum import StrEnum


class Tier(StrEnum):
    """How much may be used, the most first."""

    personal = "personal"
    segment = "segment"
    none = "none"


_STRICTNESS = {tier: number for number, tier in enumerate(Tier)}


def strictest(tiers: Iterable[Tier]) -> Tier:
    """Returns the tier that uses the least; `personal` of none.

    Example:
        >>> strictest([Tier.personal, Tier.segment])
        <Tier.segment: 'segment'>
    """
    return max(tiers, key=_STRICTNESS.__getitem__, default=Tier.personal)
