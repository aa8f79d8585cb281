"""What torch hands to both ways of a function with a gradient of its own, as far as ours use it."""

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """Carries tensors from the way forward to the way back."""

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """What was saved."""
        ...

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keeps tensors for the way back."""
        ...
