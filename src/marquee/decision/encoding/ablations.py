"""The query of one request without each of the things that it rests on."""

from dataclasses import dataclass

from marquee.core.arrays import FloatArray
from marquee.decision.requests import Source


@dataclass(frozen=True, slots=True)
class Ablations:
    """Query embeddings of one request: the whole, and without each of the things that it rests on.

    ```
    row   0       1 … n_events    … + len(columns)    last, if has_user
          whole   less an event   less an attribute   less what was learned of the user
    ```

    Attributes:
        embeddings: (n_rows, dim) float32; not to be used where the source is `popular`.
        sources: What each was made from.
        n_events: Events of the history that the tower is fed, the oldest first.
        columns: Source columns of the attributes that say something, the moment included.
        has_user: Whether something was learned of the user.
    """

    embeddings: FloatArray
    sources: tuple[Source, ...]
    n_events: int
    columns: tuple[str, ...]
    has_user: bool
