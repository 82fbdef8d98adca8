"""A set of numbers from which any one can be had in constant time."""

from __future__ import annotations

from collections.abc import Iterator


class Bag:
    """Numbers in a list, and the place of each in it; a removed one is replaced by the last.

    A dict would do but for `next(iter(...))`, which passes over every entry deleted at its front.
    """

    __slots__ = ("_items", "_places")

    def __init__(self) -> None:
        self._items: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[int]:
        return iter(self._items)

    def __contains__(self, item: int) -> bool:
        return item in self._places

    def add(self, item: int) -> None:
        """Adds a number that is not in it."""
        self._places[item] = len(self._items)
        self._items.append(item)

    def discard(self, item: int) -> None:
        """Removes a number that is in it."""
        place, last = self._places.pop(item), self._items.pop()
        if last != item:
            self._items[place] = last
            self._places[last] = place

    def any(self) -> int:
        """One of the numbers, the same until something changes.

        Raises:
            IndexError: there is none.
        """
        return self._items[-1]
