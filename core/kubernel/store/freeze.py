"""Deep-frozen JSON values: dicts and lists that raise on the attempt to change them.

They are subclasses, so ``isinstance``, equality and orjson treat them as what they are.
``dict(x)``, ``{**x}``, ``x.copy()``, ``list(x)`` and ``copy.deepcopy(x)`` give changeable copies.
"""

from __future__ import annotations

import copy
from typing import Any, NoReturn

__all__ = ["FrozenDict", "FrozenList", "freeze"]


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("this object belongs to the store and is shared: change a copy of it")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed."""

    __slots__ = ()

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {name: copy.deepcopy(value, memo) for name, value in self.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class FrozenList(list[Any]):
    """A list that cannot be changed."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [copy.deepcopy(value, memo) for value in self]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def freeze(value: Any) -> Any:
    """A deep-frozen equal of a JSON value; parts that are frozen already are shared."""
    kind = type(value)
    if kind is dict:
        return FrozenDict({name: freeze(item) for name, item in value.items()})
    if kind is list:
        return FrozenList([freeze(item) for item in value])
    return value
