"""Modules made for their shapes alone, without memory for their weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NoInitialValues(TorchFunctionMode):
    """Leaves out torch.nn.init: on the device "meta" it imports torch's compiler, which takes seconds."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def shapes_only() -> Iterator[None]:
    """Let tensors that are made here have shapes and no values. Takes no memory, whatever sizes are asked for.

    >>> with shapes_only():
    ...     layer = torch.nn.Linear(10**6, 10**6)
    >>> layer.weight.shape
    torch.Size([1000000, 1000000])
    """
    with torch.device("meta"), _NoInitialValues():
        yield
