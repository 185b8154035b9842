"""A dict in parts: what it has in common with a dict, and what it shares with its copies."""

import pytest

from lrpmirror.core.rows.parts import PARTS, PartedDict


def test_a_dict_in_parts_is_a_dict() -> None:
    numbers: PartedDict[int, str] = PartedDict()
    for number in range(1000):
        numbers[number] = str(number)
    assert numbers == {number: str(number) for number in range(1000)}
    assert numbers.copy() == dict(numbers)
    assert len(numbers) == 1000
    assert numbers.pop(5) == "5"
    assert numbers.pop(5) is None
    assert 5 not in numbers
    assert numbers.get(5, "none") == "none"
    with pytest.raises(KeyError):
        numbers[5]


def test_a_forked_dict_shares_what_neither_writes_to() -> None:
    one: PartedDict[int, int] = PartedDict()
    for number in range(1000):
        one[number] = number
    other = one.fork()
    one[0] = -1
    other.pop(1)
    other[2] = -2

    assert (one[0], one[1], one[2]) == (-1, 1, 2)
    assert (other[0], other.get(1), other[2]) == (0, None, -2)
    shared = sum(mine is theirs for mine, theirs in zip(one.parts(), other.parts(), strict=True))
    assert shared == PARTS - 3


def test_a_dict_is_emptied_part_by_part() -> None:
    one: PartedDict[int, int] = PartedDict()
    for number in range(1000):
        one[number] = number
    copied = one.fork()
    sizes = [len(one) for _ in one.free_in_slices()]
    assert sizes[-1] == 0
    assert max(before - after for before, after in zip([1000, *sizes], sizes, strict=False)) <= 8
    assert len(copied) == 1000
