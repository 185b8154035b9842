"""The keys of a view that a list touches."""

from lrpmirror.core.preparation import Touched


def test_a_key_that_is_touched_again_has_its_first_rank_and_goes_last_where_it_is_gone() -> None:
    touched: Touched[str] = Touched()
    touched.add("a", 0, there=True)
    touched.add("b", 1, there=True)

    touched.add("a", 1, there=True)
    assert [*touched] == ["a", "b"]
    touched.add("a", 2, there=False)
    assert [*touched] == ["b", "a"]
    assert len(touched) == 2
