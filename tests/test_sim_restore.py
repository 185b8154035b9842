"""How the simulated BBS goes back to what its database had at an earlier moment."""

from sim_support import A, B, check_rows, diego, drain, row, run, wanted

from lrpmirror.sim import Autopilot, Diego


def test_records_have_the_versions_of_then_and_new_writes_use_versions_again() -> None:
    bbs = diego()
    bbs.desire(wanted())
    backup = bbs.backup()
    before = row(bbs)
    run(bbs, A)
    emitted = bbs.subscribe("instances")

    bbs.restore(backup)

    assert row(bbs) == before
    assert drain(emitted) == [], "no event tells of it"
    bbs.claim("p", 0, B)
    assert (row(bbs).epoch, row(bbs).tag_index, row(bbs).cell_id) == (before.epoch, before.tag_index + 1, B.cell_id)
    assert len(drain(emitted)) == 1, "the streams live on"


def test_what_was_removed_is_back_and_what_was_created_never_was() -> None:
    bbs = diego()
    bbs.desire(wanted("kept"))
    backup = bbs.backup()
    bbs.remove_desired("kept")
    bbs.desire(wanted("new"))
    bbs.upsert_domain("later")

    bbs.restore(backup)

    assert [lrp.process_guid for lrp in bbs.desired_lrps()] == ["kept"]
    assert {each.process_guid for each in bbs.actual_lrps()} == {"kept"}
    assert bbs.domains() == ("cf-apps",)


def test_the_cells_and_what_they_were_asked_are_not_in_the_database() -> None:
    bbs = diego()
    bbs.desire(wanted())
    run(bbs, A)
    backup = bbs.backup()
    bbs.lose_cell("cell-c")
    bbs.remove_desired("p")

    bbs.restore(backup)

    assert [cell.cell_id for cell in bbs.cells()] == ["cell-a", "cell-b"]
    assert bbs.take_stop_requests() == ()


def test_a_backup_stays_as_it_is_and_can_be_used_again() -> None:
    bbs = Diego(seed=2)
    autopilot = Autopilot(bbs, seed=2, apps=4, cells=2)
    autopilot.run(20)
    backup, snapshot = bbs.backup(), bbs.snapshot()

    for _ in range(3):
        autopilot.run(20)
        bbs.restore(backup)
        check_rows(bbs)
        assert bbs.snapshot().actual_lrps == snapshot.actual_lrps
        assert bbs.snapshot().desired_lrps == snapshot.desired_lrps
