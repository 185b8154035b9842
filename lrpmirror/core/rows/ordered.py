"""Texts in order, for those that begin alike: nothing that the garbage collector has to go through."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

__all__ = ["OrderedTexts"]

MOST: Final = 20
"""How many texts a run has at most."""


class OrderedTexts:
    """Texts in runs, one after the other in the order of texts, each of which is put in order when it is read.

    The collector looks at a list of 250,000 texts in each of its full runs, and at a dict of texts never.
    """

    def __init__(self) -> None:
        self._runs: list[dict[str, None]] = [{}]
        self._bounds: list[str] = [""]
        """For each run the text with which it begins at the earliest."""

    def __iter__(self) -> Iterator[str]:
        for run in self._runs:
            yield from sorted(run)

    def add(self, text: str) -> None:
        """Add a text. O(log texts + MOST)."""
        at = self._at(text)
        run = self._runs[at]
        run[text] = None
        if len(run) > MOST:
            texts, half = sorted(run), MOST // 2
            self._runs[at : at + 1] = dict.fromkeys(texts[:half]), dict.fromkeys(texts[half:])
            self._bounds.insert(at + 1, texts[half])

    def remove(self, text: str) -> None:
        """Remove a text that is there. O(log texts)."""
        at = self._at(text)
        del self._runs[at][text]
        if at and not self._runs[at]:
            del self._runs[at], self._bounds[at]

    def beginning(self, prefix: str) -> list[str]:
        """Return the texts that begin with a prefix, in order. O(log texts + MOST + found)."""
        at = bisect_right(self._bounds, prefix)
        found = [text for text in self._runs[at - 1] if text.startswith(prefix)]
        found.sort()
        while at < len(self._bounds) and self._bounds[at].startswith(prefix):
            found += sorted([text for text in self._runs[at] if text.startswith(prefix)])
            at += 1
        return found

    def _at(self, text: str) -> int:
        return bisect_right(self._bounds, text) - 1
