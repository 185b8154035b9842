"""ViewBuild with the state of an earlier life: served at once, and the first commit is the true difference."""

from collections.abc import Iterable
from math import inf
from random import Random

import pytest
from core_support import Fold, by_key, created, desired, removed, running, synced, take_list, unclaimed
from msgspec.structs import replace

from lrpmirror.core.freshness.status import Phase
from lrpmirror.core.knowledge import ExportedState
from lrpmirror.core.lists import snapshot as snapshots
from lrpmirror.core.rows.changes import Cause, Delta
from lrpmirror.core.session import Session, Tuning
from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import ConnectionFailed, MirrorForked, NotFresh, StateFileError
from lrpmirror.model import ActualLRP, CellPresence, DesiredLRP
from lrpmirror.redaction import is_redacted_of, without_secrets

SSH = b'{"private_key":"marked"}'
ROUTES = {"cf-router": b'[{"hostnames":["a"],"port":8080}]', "diego-ssh": SSH}


def exported(
    *listed: ActualLRP | DesiredLRP,
    revision: int = 7,
    retained: Iterable[DesiredLRP] = (),
    domains: Iterable[str] = (),
    cells: Iterable[CellPresence] = (),
) -> ExportedState:
    """What a file brings of a state: all but the secrets."""
    return ExportedState(
        revision=revision,
        actual_lrps=tuple(one for one in listed if isinstance(one, ActualLRP)),
        desired_lrps=tuple(without_secrets(one) for one in listed if isinstance(one, DesiredLRP)),
        retained=tuple(map(without_secrets, retained)),
        domains=frozenset(domains),
        cells=tuple(cells),
    )


def restored(of: ExportedState, *, now: float = 0, age: float = 60) -> Session:
    session = Session(Tuning(), Random(0))
    session.restore(of, of.indexed(), now, age)
    session.knowledge.store._check()
    return session


# What is there at once


def test_the_state_is_there_at_once_and_is_stale_with_its_age() -> None:
    cell = CellPresence(cell_id="cell-1")
    session = restored(exported(unclaimed(), desired(), domains={"apps"}, cells=[cell]), now=5, age=60)

    status = session.status(6)
    assert status.phase is Phase.STALE
    assert status.age == 61
    assert status.restored_at == -55
    assert status.synced_at is None
    assert status.revision == 7
    assert session.knowledge.store.process("p") == (unclaimed(),)
    assert session.knowledge.store.desired("p") == desired()
    assert session.knowledge.store.domains == {"apps"}
    assert session.knowledge.cells == (cell,)


def test_what_was_retained_is_retained_and_routed() -> None:
    session = restored(exported(retained=[desired()]))

    assert session.knowledge.process("p").routed == desired()
    assert session.knowledge.process_guids() == ["p"]


def test_a_retained_desired_lrp_is_released_when_its_domain_is_fresh() -> None:
    session = restored(exported(retained=[desired()]))
    session.stream_opened(0)
    snapshot = session.begin_list(0)
    snapshot.domains = frozenset({"apps"})
    for _ in snapshot.settle():
        pass
    commit = session.end_list(snapshot, 0)

    assert commit is not None
    assert commit.released == ("p",)
    assert session.knowledge.process_guids() == []


def test_the_exported_state_of_a_session_begins_another_that_is_the_same() -> None:
    first = synced(unclaimed(), desired(), running("b", index=1))
    second = restored(first.knowledge.export())

    assert second.knowledge.export() == first.knowledge.export()


# The first list


def test_the_first_commit_is_the_difference_and_revisions_go_on() -> None:
    stays, goes, grows = unclaimed("a"), unclaimed("b", index=1), unclaimed("c", index=2)
    session = restored(exported(stays, goes, grows, desired()))
    session.stream_opened(0)
    new = running("d", index=3)
    commit = take_list(session, [stays, replace(grows, tag_index=4), new], [desired(tag_index=1)])

    assert commit is not None
    assert commit.revision == 8
    assert commit.cause is Cause.SNAPSHOT
    assert set(commit.actual_lrps) == {
        Delta("b", goes, None),
        Delta("c", grows, replace(grows, tag_index=4)),
        Delta("d", None, new),
    }
    assert commit.desired_lrps == (Delta("p", desired(), desired(tag_index=1)),)
    assert session.freshness.phase is Phase.LIVE
    assert session.status(0).restored_at is None
    assert {one.epoch for one in session.knowledge.export().actual_lrps} == {"a", "c", "d"}


def test_a_list_that_has_what_was_restored_commits_nothing() -> None:
    session = restored(exported(unclaimed(), desired()))
    session.stream_opened(0)

    assert take_list(session, [unclaimed()], [desired()], now=3) is None
    assert session.knowledge.revision == 7
    assert session.freshness.synced_at == 3


def test_events_wait_for_the_first_list_and_are_in_its_commit() -> None:
    session = restored(exported(unclaimed()))
    session.stream_opened(0)

    commit = take_list(
        session,
        [unclaimed()],
        meanwhile=[removed(unclaimed()), created(unclaimed("z", index=1))],
    )

    assert session.knowledge.revision == 8
    assert commit is not None
    assert set(commit.actual_lrps) == {
        Delta("a", unclaimed(), None),
        Delta("z", None, unclaimed("z", index=1)),
    }


def test_a_record_that_came_and_went_before_the_first_list_stays_gone_after_a_late_event() -> None:
    session = restored(exported(running("a", 2)))
    session.stream_opened(0)
    take_list(session, [running("a", 2)], meanwhile=[created(unclaimed("x")), removed(unclaimed("x"))])

    assert session.events([created(unclaimed("x"))], 1) == []


def test_folding_the_commits_over_the_exported_state_gives_the_state() -> None:
    begun = exported(unclaimed("a"), unclaimed("b", index=1), desired())
    session = restored(begun)
    fold = Fold()
    fold.rows, fold.lrps, fold.revision = by_key(begun.actual_lrps), {"p": desired()}, begun.revision
    session.stream_opened(0)
    fold.take([take_list(session, [unclaimed("b", 1, index=1)], [])])
    fold.take(session.events([created(unclaimed("c", index=2))], 1))

    fold.agrees_with(session)


# What was left out of the file


@pytest.mark.parametrize(
    "whole",
    [desired(routes=ROUTES), desired(detail=DesiredLRPDetail()), desired(routes=ROUTES, detail=DesiredLRPDetail())],
)
def test_what_the_file_left_out_is_written_without_a_change(whole: DesiredLRP) -> None:
    session = restored(exported(whole))
    assert session.knowledge.store.desired("p") != whole
    session.stream_opened(0)

    assert take_list(session, [], [whole]) is None
    assert session.knowledge.store.desired("p") == whole
    assert session.take_completed() == ("p",)
    assert session.take_completed() == ()


def test_what_was_left_out_of_many_is_written_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "FEW", 2)
    monkeypatch.setattr(snapshots, "SLICE", 1)
    lrps = [desired(f"d{n}", process_guid=f"p{n}", routes=ROUTES) for n in range(5)]
    session = restored(exported(*lrps))
    session.stream_opened(0)
    old = session.knowledge.store

    assert take_list(session, [], lrps) is None
    assert session.knowledge.store is not old, "the indexes are exchanged as a whole"
    assert [session.knowledge.store.desired(lrp.process_guid) for lrp in lrps] == lrps


def test_another_version_is_a_change_whatever_was_left_out() -> None:
    whole = desired(routes=ROUTES)
    session = restored(exported(whole))
    session.stream_opened(0)
    commit = take_list(session, [], [replace(whole, tag_index=1)])

    assert commit is not None
    assert commit.desired_lrps == (Delta("p", without_secrets(whole), replace(whole, tag_index=1)),)
    assert session.take_completed() == ()


def test_the_same_version_with_another_difference_is_a_change() -> None:
    whole = desired(routes=ROUTES)
    session = restored(exported(whole))
    session.stream_opened(0)
    commit = take_list(session, [], [replace(whole, instances=3)])

    assert commit is not None
    assert [delta.after for delta in commit.desired_lrps] == [replace(whole, instances=3)]


def test_what_a_server_that_lags_did_not_bring_is_written_without_a_change_later() -> None:
    whole = desired("d", 2, routes=ROUTES)
    session = restored(exported(whole))
    session.stream_opened(0)
    assert take_list(session, [], [replace(whole, tag_index=1)]) is None

    assert take_list(session, [], [whole]) is None
    assert session.knowledge.store.desired("p") == whole


def test_a_mirror_that_began_without_a_file_publishes_secrets_that_changed() -> None:
    session = synced(without_secrets(desired(routes=ROUTES)))
    commit = take_list(session, [], [desired(routes=ROUTES)])

    assert commit is not None
    assert len(commit.desired_lrps) == 1


def test_a_first_list_that_would_remove_nearly_all_is_not_believed_at_once() -> None:
    rows = [unclaimed(f"e{n}", index=n) for n in range(200)]
    session = restored(exported(*rows))
    session.stream_opened(0)

    assert take_list(session) is None
    assert session.freshness.phase is Phase.STALE
    assert len(session.knowledge.store) == 200

    commit = take_list(session, now=60)
    assert commit is not None
    assert len(commit.actual_lrps) == 200
    assert commit.revision == 8


# When the state was the server's


def test_a_live_state_is_current_as_of_the_last_sign_of_life() -> None:
    session = synced()
    session.events([created(unclaimed())], 9)

    assert session.freshness.current_at == 9


def test_a_state_without_a_stream_is_current_as_of_the_last_sign_of_life_of_that_stream() -> None:
    session = synced()
    session.events([created(unclaimed())], 9)
    session.stream_lost(ConnectionFailed("gone"))
    session.stream_opened(1000)

    assert session.freshness.current_at == 9


def test_a_restored_state_is_current_as_of_its_own_age_also_once_the_stream_is_open() -> None:
    session = restored(exported(), now=5, age=60)
    assert session.freshness.current_at == -55

    session.stream_opened(100)

    assert session.freshness.current_at == -55
    assert session.status(100).restored_at == -55
    assert session.status(100).state_age == 155


def test_a_restored_state_of_unknown_age_passes_no_check_of_freshness_until_there_is_a_list() -> None:
    session = Session(Tuning(), Random(0))
    of = exported(unclaimed())
    session.restore(of, of.indexed(), 5, None)
    status = session.status(6)

    assert (status.phase, status.age, status.state_age, status.restored_at) == (Phase.STALE, None, None, -inf)
    with pytest.raises(NotFresh, match="the mirror is stale and has a state whose age is not known"):
        status.check_fresh(1e9)
    session.stream_opened(100)
    assert session.status(101).age == 1
    assert session.status(101).state_age is None


def test_a_copy_that_nothing_keeps_current_is_closed_and_fresh_nowhere() -> None:
    session = synced(unclaimed())
    error = MirrorForked("forked")
    session.freshness.abandoned(error)
    status = session.status(0)

    assert (status.phase, status.trouble, status.last_error) == (Phase.CLOSED, error, error)
    with pytest.raises(NotFresh, match="the mirror is closed and has a state whose age is not known: forked"):
        status.check_fresh(1e9)


def test_a_session_that_knows_nothing_was_never_current() -> None:
    assert Session(Tuning(), Random(0)).freshness.current_at is None


def test_an_error_beside_the_stream_is_noted_and_counted() -> None:
    session = synced()
    error = StateFileError("no room")
    session.freshness.noted(error)

    assert session.freshness.last_error is error
    assert session.counts().errors == {"StateFileError": 1}
    assert session.freshness.phase is Phase.LIVE


# Redaction


def test_secrets_are_detail_and_routes_that_are_not_known_to_be_harmless() -> None:
    lrp = desired(routes={**ROUTES, "custom": b"[]"}, detail=DesiredLRPDetail())

    left = without_secrets(lrp)

    assert dict(left.routes) == {"cf-router": ROUTES["cf-router"], "diego-ssh": b"null", "custom": b"null"}
    assert left.detail is None
    assert is_redacted_of(left, lrp)
    assert not is_redacted_of(left, replace(lrp, tag_index=9))


def test_what_has_no_secrets_is_left_as_it_is() -> None:
    lrp = desired(routes={"cf-router": b"[]"})

    assert without_secrets(lrp) is lrp
