"""A decorator for attributes that are computed when they are first read.

Python 3.11 computes `functools.cached_property` of all objects of a class under one lock. A thread
that prepares one document would block the event loop while that reads such an attribute of another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazy(Generic[T]):
    """Decorator that makes a method without arguments an attribute, computed at the first read.

    The value is stored in the object's `__dict__`, so the class must not have `__slots__`. No lock
    is taken: threads that first read it at the same time may each compute it, so the method must
    return equal values each time.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> T | lazy[T]:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
