"""Containers that raise when somebody changes them: what the store hands out is shared."""

from __future__ import annotations

from typing import Any


class Frozen(dict[str, Any]):
    """A dict that cannot be changed, so that a write to stored data is seen."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a stored object was changed")

    __setitem__ = __delitem__ = pop = setdefault = update = clear = popitem = __ior__ = _refuse


class FrozenList(list[Any]):
    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a stored list was changed")

    __setitem__ = __delitem__ = pop = append = insert = extend = remove = clear = sort = reverse = _refuse
    __iadd__ = _refuse


def freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return Frozen({key: freeze(each) for key, each in value.items()})
    if isinstance(value, list):
        return FrozenList(map(freeze, value))
    return value
