"""Type of the context that torch hands to `forward` and `backward` of a custom autograd function."""

from typing import Protocol

from torch import Tensor


class Context(Protocol):
    """Carries tensors from the way forward to the way back."""

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """Tensors that `forward` saved."""
        ...

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keeps tensors for the way back."""
        ...
