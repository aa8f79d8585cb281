"""The customers of a run in memory: traits and audiences of one of them in microseconds, without a disk.

Decides what is known of a customer at a decision. Leaves to others who may be asked about: consent and
erasures are the service's to know.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import polars as pl

from marquee.bundle.traits.pseudonyms import pseudonym
from marquee.bundle.traits.run import CustomersRun, Member
from marquee.core.targeting.customer import SEGMENT, Customer, TraitValue
from marquee.core.targeting.targeting import CustomerFacts

_CONTACT = "contact"


class CustomersInMemory:
    """Traits and audiences of the customers of a run.

    Attributes:
        run: The run.
        facts: The names of its traits and audiences.

    Args:
        run: The run; every file that is read is held against its checksum.

    Raises:
        BundleError: If a file differs from its checksum, or cannot be read.
        ConfigError: If its ids are hashed and the key is not in the environment.
    """

    def __init__(self, run: CustomersRun) -> None:
        self.run = run
        rows = run.values
        self._key = run.key
        self._place = {user_id: place for place, user_id in enumerate(rows["user_id"].to_list())}
        self._columns = {name: rows[name] for name in rows.columns if name != "user_id"}
        self._contacts = {name: _contacts(run.members(name)) for name in run.manifest.audiences}
        self.facts = CustomerFacts(
            run.name,
            {name: kind for name, series in self._columns.items() if (kind := _kind(series.dtype))},
            frozenset(name for name, facts in run.manifest.audiences.items() if not facts.refused),
            _distinct(self._columns.get(SEGMENT)),
        )

    def __len__(self) -> int:
        """Number of customers with traits."""
        return len(self._place)

    @property
    def has_pseudonyms(self) -> bool:
        """Whether the run names customers by pseudonyms."""
        return bool(self._key)

    @property
    def user_ids(self) -> Collection[str]:
        """The customers with traits, as the run names them."""
        return self._place.keys()

    def find(self, user_id: str) -> Customer | None:
        """Returns a customer, None for nobody.

        Args:
            user_id: As the table of customers had it.
        """
        name = pseudonym(user_id, self._key) if self._key else user_id
        audiences = frozenset(one for one, contacts in self._contacts.items() if name in contacts)
        place = self._place.get(name)
        if place is None:
            return Customer(audiences=audiences) if audiences else None
        return Customer(_TraitsOf(self._columns, place), audiences)


class _TraitsOf(Mapping[str, TraitValue]):
    """The traits of one customer, read where they are asked for: a decision asks for few of many.

    Args:
        columns: Of all customers, by name.
        place: Of the customer in each.
    """

    def __init__(self, columns: Mapping[str, pl.Series], place: int) -> None:
        self._columns = columns
        self._place = place

    def __getitem__(self, name: str) -> TraitValue:
        value: TraitValue = self._columns[name][self._place]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _contacts(members: Iterable[Member]) -> frozenset[str]:
    """Returns the members that may be treated: whoever is held back is what the others are measured by."""
    return frozenset(member.user_id for member in members if member.group == _CONTACT)


def _distinct(texts: pl.Series | None) -> frozenset[str]:
    """Returns the texts of a column, none where there is no such column or it holds others than texts."""
    if texts is None or texts.dtype != pl.String:
        return frozenset()
    return frozenset(texts.drop_nulls().unique().to_list())


def _kind(dtype: pl.DataType) -> str:
    """Returns the kind of value of a type of column, empty where no condition can be on it."""
    if dtype == pl.Boolean:
        return "flag"
    if dtype.is_numeric():
        return "number"
    return "text" if dtype == pl.String else ""
