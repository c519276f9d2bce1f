"""A dictionary that says what it was given, for ever."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A dictionary that says what it was given, for ever."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        message = "a record cannot be changed; copy it with dict(...)"
        raise TypeError(message)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: object) -> FrozenDict:
        return self


def frozen_dict(told: dict[str, Any], given: Mapping[Any, Any]) -> FrozenDict:
    """Return it frozen: the one that was given, where that says the same."""
    if not isinstance(given, FrozenDict) or not _are_same(told, given):
        return FrozenDict(told)
    return given if _are_same(told.values(), given.values()) else FrozenDict(told)


def frozen_tuple(told: list[Any], given: Iterable[Any]) -> tuple[Any, ...]:
    """Return it frozen: the one that was given, where that says the same."""
    if type(given) is tuple and _are_same(told, given):
        return given
    return tuple(told)


def _are_same(told: Collection[Any], given: Collection[Any]) -> bool:
    return len(told) == len(given) and all(map(operator.is_, told, given))
