"""Turning what instances contribute into steps of keys: which contributions differ, and which keys share a step."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct

from lrpmirror.core.derived.view import Share, Step

K = TypeVar("K", bound=Hashable)
C = TypeVar("C")

Shares = Sequence[Share[Any, Any]]

Difference = tuple[Sequence[Any], Any, Any]
"""Keys, and the contribution to each of them before and after."""


class Work(Struct, gc=False):
    """The steps of an update that are still to be folded, by the keys that they change."""

    steps: dict[int, tuple[Sequence[Any], list[Step[Any]]]] = {}

    def add_steps(self, source: str, index: int, old: Shares, new: Shares) -> None:
        """Add the steps from what an instance has contributed to what it does. O(keys) where these differ."""
        if not old:
            for share in new:
                self.add(share.keys, Step(source, index, None, share.of))
        elif not new:
            for share in old:
                self.add(share.keys, Step(source, index, share.of, None))
        elif len(old) == len(new) == 1 and _have_same_keys(old[0], new[0]):
            # Nearly all: one contribution for another.
            before, after = old[0].of, new[0].of
            if _differ(before, after):
                self.add(new[0].keys, Step(source, index, before, after))
        else:
            # A list first, since comparing may raise: then no step is added.
            for keys, before, after in list(differences(old, new)):
                self.add(keys, Step(source, index, before, after))

    def add(self, keys: Sequence[Any], step: Step[Any]) -> None:
        """Add a step of some keys. O(1): keys that instances share are one tuple, known by its id."""
        known = self.steps.get(id(keys))
        if known is None:
            self.steps[id(keys)] = (keys, [step])
        else:
            known[1].append(step)

    def join(self, steps: Mapping[int, tuple[Sequence[Any], list[Step[Any]]]]) -> None:
        """Add steps by the ids of their keys. O(keys' tuples)."""
        for at, group in steps.items():
            known = self.steps.setdefault(at, group)
            if known is not group:
                known[1].extend(group[1])


def first_steps(source: str, of: Mapping[int, Any]) -> dict[int, tuple[Sequence[Any], list[Step[Any]]]]:
    """Return the steps of a source that has contributed nothing before, of its shares by index. O(shares)."""
    found: dict[int, tuple[Sequence[Any], list[Step[Any]]]] = {}
    last, steps = None, []
    for index, stored in of.items():
        for share in stored if type(stored) is tuple else (stored,):
            if share.keys is not last:
                last = share.keys
                steps = found.setdefault(id(last), (last, []))[1]
            steps.append(Step(source, index, None, share.of))
    return found


def unpacked(stored: Any) -> Shares:
    """Return the shares that `packed` made a value of."""
    return stored if type(stored) is tuple else (stored,)


def packed(shares: Shares) -> Any:
    """Return shares as they are stored: one alone without its tuple, which would take more memory than the share."""
    return shares[0] if len(shares) == 1 else shares


def as_shares(contributions: Mapping[K, C]) -> Shares:
    """Return a mapping of keys to contributions as shares. O(keys)."""
    items = dict(contributions).items()
    return [Share((key,), contribution) for key, contribution in items if contribution is not None]


def check_keys(shares: Shares) -> None:
    """Raise ValueError where two shares have the same key. O(keys)."""
    keys = [key for share in shares for key in share.keys]
    if len(set(keys)) != len(keys):
        raise ValueError("an instance contributes to one key in two shares: one would take the place of the other")


def differences(old: Shares, new: Shares) -> Iterable[Difference]:
    """Return the keys whose contribution differs, with the one before and after. O(keys) where the keys differ."""
    if len(old) == len(new) and all(map(_have_same_keys, old, new)):
        # `now.keys` is the tuple that all instances share.
        return [(now.keys, was.of, now.of) for was, now in zip(old, new, strict=True) if _differ(was.of, now.of)]
    return _differences_by_key(old, new)


def _have_same_keys(old: Share[Any, Any], new: Share[Any, Any]) -> bool:
    return old.keys is new.keys or old.keys == new.keys


def _differ(old: Any, new: Any) -> bool:
    return old is not new and old != new


def _differences_by_key(old: Shares, new: Shares) -> Iterable[Difference]:
    before = {key: share.of for share in old for key in share.keys}
    pairs: dict[tuple[int, int], tuple[list[Any], Any, Any]] = {}
    for share in new:
        after = share.of
        for key in share.keys:
            was = before.pop(key, None)
            if was is None or _differ(was, after):
                pairs.setdefault((id(was), id(after)), ([], was, after))[0].append(key)
    for key, was in before.items():
        pairs.setdefault((id(was), 0), ([], was, None))[0].append(key)
    return pairs.values()


FEW: Final = 4
"""Up to so many keys of a share are folded one by one, which needs no bookkeeping of what else was touched."""

Groups = Iterable[tuple[Sequence[K], list[Step[C]]]]
"""Steps by the keys that they change."""


def merged(groups: Groups[K, C]) -> tuple[dict[K, list[Step[C]]], list[tuple[Sequence[K], list[Step[C]]]]]:
    """Return the steps of each key, and apart those of shares with many keys, by these. O(steps)."""
    alone: dict[K, list[Step[C]]] = {}
    shared: list[tuple[Sequence[K], list[Step[C]]]] = []
    for keys, steps in groups:
        if len(keys) > FEW:
            shared.append((keys, steps))
            continue
        for key in keys:
            known = alone.setdefault(key, steps)
            if known is not steps:
                alone[key] = known + steps
    return alone, shared


def composed(steps: Iterable[Step[C]]) -> list[Step[C]]:
    """Return one step for each source and index: from the first `before` to the last `after`."""
    found: dict[tuple[str, int], Step[C]] = {}
    for step in steps:
        at = step.source, step.index
        first = found.get(at)
        found[at] = step if first is None else Step(step.source, step.index, first.before, step.after)
    return [step for step in found.values() if step.before is not None or step.after is not None]
