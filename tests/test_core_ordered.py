"""Ordered texts: as a sorted list of them, and nothing for the garbage collector."""

import gc
from unittest.mock import patch

from core_support import law
from hypothesis import given
from hypothesis import strategies as st

from lrpmirror.core.rows import ordered
from lrpmirror.core.rows.ordered import OrderedTexts
from lrpmirror.core.rows.store import Store
from lrpmirror.model import DesiredLRP

texts = st.text("ab", max_size=4)


@law(300)
@given(st.lists(st.tuples(st.booleans(), texts), max_size=60), texts)
def test_ordered_texts_are_those_of_a_sorted_set(history: list[tuple[bool, str]], prefix: str) -> None:
    plain: set[str] = set()
    with patch.object(ordered, "MOST", 3):
        texts = OrderedTexts()
        for comes, text in history:
            if comes:
                texts.add(text)
                plain.add(text)
            elif text in plain:
                texts.remove(text)
                plain.remove(text)

            assert list(texts) == sorted(plain)
            assert texts.beginning(prefix) == sorted(text for text in plain if text.startswith(prefix))


def test_the_collector_goes_through_a_small_share_of_the_desired_lrps_of_a_store() -> None:
    store, number = Store(), 20_000
    for at in range(number):
        store.put_desired(DesiredLRP(process_guid=f"app-{at}", domain="apps"))
    gc.collect()

    known: set[int] = set()
    looked_at, parts = 0, [*vars(store).values()]
    while parts:
        part = parts.pop()
        if id(part) in known or callable(part) or not gc.is_tracked(part):
            continue
        known.add(id(part))
        looked_at += len(gc.get_referents(part))
        parts += gc.get_referents(part)

    assert looked_at < number / 3
