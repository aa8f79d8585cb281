"""Every error that Marquee raises on purpose, grouped by who must act.

```
MarqueeError
├── DataError(ValueError)         the caller's table or request is wrong
│   ├── MissingColumnError        a column that the mapping names is not in the file
│   ├── UnknownIdError            an id that the catalog does not hold
│   ├── ShapeError                arrays that do not fit together
│   ├── FilterError               a filter that the catalog cannot apply
│   ├── QueryError                words that nothing can be found by
│   ├── RuleError                 a rule that cannot hold
│   ├── FormError                 a form of a customer with a field that cannot be
│   ├── BidRequestError           a bid request that no bid could answer
│   ├── NoticeError               a notice of an exchange that settles nothing
│   ├── MoneyError                an amount of money that is none
│   ├── CampaignError             a campaign that cannot be
│   ├── RejectedRowsError         more rows were rejected than `max_rejected_fraction` allows
│   └── LeakageError              an event crosses the split
├── ConfigError(ValueError)       the caller's config is wrong: refuse to start
│   └── OtherShapeError           an earlier model has other parts than the one that is to start from it
├── BundleError                   the artifact is wrong: refuse to load it
│   ├── BundleNotFoundError
│   ├── BundleBusyError           not now: another publisher, a slow disk, a process that ends
│   ├── BundleVersionError        written in a format this release does not read
│   ├── ChecksumError             a file differs from its manifest
│   └── SignatureError            nobody who is trusted has signed the manifest
├── ItemsFullError                there is no room for more live items
├── RulesChangedError             the rules are of another version than the one that was to be replaced
├── CampaignChangedError          the campaign is of another version than the one that was to be changed
├── EventLogError                 the event log refuses: nothing was kept, send it again
│   ├── EventLogFullError         its disk is full
│   ├── EventLogGoneError         its folder or its database cannot be reached
│   └── LedgerBehindError         the ledger was restored from a copy that is older than what was spent
├── TaskError                     a part of distributed work cannot be made, or is not what it was made of
├── ParityError                   the exported model disagrees with torch: export fails
├── DownloadError                 a published data set could not be fetched or is not the published one
└── NotFittedError(RuntimeError)  a mistake in the order of calls
```

A message has four parts: the thing, what came, what was expected, what to do.
"""


class MarqueeError(Exception):
    """Base of every error in this tree; catch it to catch all of them."""


class DataError(MarqueeError, ValueError):
    """The caller's table or request is wrong."""


class MissingColumnError(DataError):
    """A column that the mapping names is not in the file."""


class UnknownIdError(DataError):
    """An id that the catalog does not hold."""


class ShapeError(DataError):
    """Arrays that do not fit together."""


class FilterError(DataError):
    """A filter that the catalog cannot apply.

    Attributes:
        field: Where it stands in the request.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class QueryError(DataError):
    """Words of a request that nothing can be found by.

    Attributes:
        field: Of the request.
    """

    field = "query"


class RuleError(DataError):
    """A rule that cannot hold, alone or beside another.

    Attributes:
        field: Where it stands in the set.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class FormError(DataError):
    """A form of a customer with a field that cannot be.

    Attributes:
        column: The field.
    """

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


class BidRequestError(DataError):
    """A bid request that no bid could answer."""


class NoticeError(DataError):
    """A notice of an exchange that settles nothing.

    Attributes:
        reason: One word, by which it is counted.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class MoneyError(DataError):
    """An amount of money that is none, or cannot be said in whole millionths.

    Attributes:
        field: Where it stands in the request.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class CampaignError(DataError):
    """A campaign that cannot be.

    Attributes:
        field: Where it stands in the campaign.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class RejectedRowsError(DataError):
    """More rows were rejected than the declared fraction allows."""


class LeakageError(DataError):
    """An event crosses the split it must not cross."""


class ConfigError(MarqueeError, ValueError):
    """The caller's configuration is wrong."""


class OtherShapeError(ConfigError):
    """An earlier model has other parts than the one that is to start from it."""


class BundleError(MarqueeError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle at the path given."""


class BundleBusyError(BundleError):
    """The bundle cannot be used for now; the same call may succeed later."""


class BundleVersionError(BundleError):
    """The bundle's format is not one that this release reads."""


class ChecksumError(BundleError):
    """A file of the bundle differs from its manifest."""


class SignatureError(BundleError):
    """The bundle is not signed by a key that is trusted."""


class ItemsFullError(MarqueeError):
    """There is no room for more live items."""


class RulesChangedError(MarqueeError):
    """The rules are of another version than the one that was to be replaced; nothing was changed.

    Attributes:
        version: The one that holds.
    """

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message)
        self.version = version


class CampaignChangedError(MarqueeError):
    """The campaign is of another version than the one that was to be changed; nothing was changed.

    Attributes:
        version: The one that holds.
    """

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message)
        self.version = version


class EventLogError(MarqueeError):
    """The event log refuses; what was to be written is neither kept nor remembered as seen."""


class EventLogFullError(EventLogError):
    """The disk of the event log is full."""


class EventLogGoneError(EventLogError):
    """The folder or the database of the event log cannot be reached."""


class LedgerBehindError(EventLogError):
    """The ledger was restored from a copy that is older than what was spent; nothing may be given away."""


class TaskError(MarqueeError):
    """A part of distributed work cannot be made, or is not what it is said to be made of."""


class ParityError(MarqueeError):
    """The exported model disagrees with the model it was exported from."""


class DownloadError(MarqueeError):
    """A published data set could not be fetched, or is not the published one."""


class NotFittedError(MarqueeError, RuntimeError):
    """A method was called before the object had learned what it needs."""
