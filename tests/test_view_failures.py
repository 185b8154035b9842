"""What a view raises is its failure, of whatever class it is; and nothing but that is kept of it."""

from collections.abc import Mapping

import pytest
from views_support import desired, process

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.view import Process
from lrpmirror.errors import MirrorError
from lrpmirror.views import View


class Outcome(BaseException):
    """What is no Exception, as an asyncio.CancelledError is none."""


class Fragile(View[str, str, str]):
    """Process guid → its annotation; raises the given errors for some of them."""

    def __init__(self, error: type[BaseException], *, where: str = "derive") -> None:
        self._error = error
        self._where = where
        self.broken = {"p"}

    def derive(self, process: Process) -> Mapping[str, str]:
        self._look("derive", process.guid)
        return {process.guid: "" if process.desired is None else process.desired.annotation}

    def combine(self, key: str, contributions: Mapping[str, str]) -> str:
        self._look("combine", key)
        return contributions[key]

    def _look(self, where: str, key: str) -> None:
        if where == self._where and key in self.broken:
            raise self._error(key)


def of(guid: str, annotation: str) -> Process:
    return process(desired(guid, annotation=annotation))


@pytest.mark.parametrize("where", ["derive", "combine"])
def test_a_failure_that_is_no_exception_harms_no_other(where: str) -> None:
    view = Fragile(Outcome, where=where)
    derivation = Derivation(view)
    derivation.update([of("p", "a"), of("q", "a")])

    assert derivation.values == {"q": "a"}
    (failure,) = derivation.failures.values()
    assert isinstance(failure, MirrorError)
    assert isinstance(failure.__cause__, Outcome)

    derivation.update([of("p", "b")])
    (failure,) = derivation.failures.values()
    assert failure.__traceback__ is None
    assert failure.__cause__ is not None
    assert failure.__cause__.__traceback__ is None, "what the view had in its hands is not kept"
    assert len(derivation.take_failures()) == 1, "it is reported once"

    view.broken.clear()
    derivation.update([of("p", "c")])
    assert derivation.values == {"p": "c", "q": "a"}
    assert derivation.failures == {}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_program_is_no_failure_of_a_view(kind: type[BaseException]) -> None:
    derivation = Derivation(Fragile(kind))
    with pytest.raises(kind):
        derivation.update([of("p", "a")])
    assert derivation.failures == {}
