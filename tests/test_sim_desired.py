"""How the simulated BBS keeps desired LRPs and domains."""

import pytest
from sim_support import A, B, diego, drain, row, run, types, wanted

from lrpmirror.detail import DesiredLRPDetail
from lrpmirror.errors import RequestRefused, ResourceNotFound
from lrpmirror.events import DesiredLRPChanged, DesiredLRPCreated, DesiredLRPRemoved
from lrpmirror.model import ActualLRPState, DesiredLRP, DynamicValue, MetricTagValue
from lrpmirror.sim import Diego, StopRequest


@pytest.fixture
def bbs() -> Diego:
    return diego()


def test_desiring_keeps_the_record_in_a_new_epoch_and_makes_a_row_for_each_index(bbs: Diego) -> None:
    emitted = bbs.subscribe("instances")
    bbs.desire(wanted(instances=3))
    (kept,) = bbs.desired_lrps()
    first, *rest = drain(emitted)
    assert first == DesiredLRPCreated(kept)
    assert kept.epoch
    assert types(rest) == ["created"] * 3
    assert sorted(each.index for each in bbs.actual_lrps()) == [0, 1, 2]
    assert {each.state for each in bbs.actual_lrps()} == {ActualLRPState.UNCLAIMED}
    assert {each.routable for each in bbs.actual_lrps()} == {False}


def test_rows_are_made_in_no_particular_order() -> None:
    orders = set()
    for seed in range(20):
        bbs = Diego(seed=seed)
        bbs.desire(wanted(instances=3))
        orders.add(tuple(each.index for each in bbs.actual_lrps()))
    assert len(orders) > 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("process_guid", ""),
        ("process_guid", "no spaces"),
        ("domain", ""),
        ("root_fs", ""),
        ("instances", -1),
        ("memory_mb", -1),
        ("disk_mb", -1),
        ("max_pids", -1),
        ("annotation", "a" * 10241),
        ("routes", {"cf-router": b"x" * 100_000, "tcp-router": b"x" * 31_073}),
        ("metric_tags", {"both": MetricTagValue(static="s", dynamic=DynamicValue.INDEX)}),
    ],
)
def test_an_invalid_record_is_refused_by_the_name_of_its_field(bbs: Diego, field: str, value: object) -> None:
    with pytest.raises(RequestRefused) as refusal:
        bbs.desire(wanted(**{field: value}))  # type: ignore[arg-type]
    assert refusal.value.type == "InvalidRequest"
    assert field.replace("root_fs", "rootfs") in refusal.value.message


def test_a_share_of_the_cpu_is_a_percentage(bbs: Diego) -> None:
    with pytest.raises(RequestRefused, match=r"^InvalidRequest: Invalid field: cpu_weight$"):
        bbs.desire(wanted(detail=DesiredLRPDetail(cpu_weight=101)))


def test_all_that_is_invalid_is_named_at_once(bbs: Diego) -> None:
    with pytest.raises(RequestRefused, match=r"domain.*rootfs.*instances"):
        bbs.desire(wanted(domain="", root_fs="", instances=-1))


def test_a_process_guid_is_desired_once(bbs: Diego) -> None:
    bbs.desire(wanted())
    with pytest.raises(RequestRefused) as refusal:
        bbs.desire(wanted())
    assert refusal.value.type == "ResourceExists"


def test_an_update_writes_only_what_is_given(bbs: Diego) -> None:
    bbs.desire(wanted(annotation="old", routes={"cf-router": b"[]"}))
    (before,) = bbs.desired_lrps()
    emitted = bbs.subscribe("instances")
    bbs.update_desired("p", annotation="new")
    (after,) = bbs.desired_lrps()
    assert (after.annotation, after.routes, after.tag_index) == ("new", {"cf-router": b"[]"}, 1)
    assert drain(emitted) == [DesiredLRPChanged(before, after)]


def test_an_update_can_rotate_the_image_credentials(bbs: Diego) -> None:
    bbs.desire(wanted(detail=DesiredLRPDetail(image_username="u", image_password="old", privileged=True)))  # noqa: S106
    bbs.update_desired("p", image_password="new")  # noqa: S106
    (after,) = bbs.desired_lrps()
    assert after.detail == DesiredLRPDetail(image_username="u", image_password="new", privileged=True)  # noqa: S106


def test_scaling_up_makes_the_missing_rows(bbs: Diego) -> None:
    bbs.desire(wanted(instances=1))
    emitted = bbs.subscribe("instances")
    bbs.update_desired("p", instances=3)
    assert sorted(types(drain(emitted))) == ["created", "created", "desired_lrp_changed"]
    assert len(bbs.actual_lrps()) == 3


def test_scaling_down_removes_free_rows_and_asks_cells_to_stop_the_others(bbs: Diego) -> None:
    bbs.desire(wanted(instances=3))
    run(bbs, A, 0)
    run(bbs, B, 1)
    bbs.update_desired("p", instances=0)
    assert sorted(each.index for each in bbs.actual_lrps()) == [0, 1]
    assert set(bbs.take_stop_requests()) == {StopRequest("p", 0, A), StopRequest("p", 1, B)}


def test_removing_drops_the_record_and_the_free_rows(bbs: Diego) -> None:
    bbs.desire(wanted(instances=2))
    (kept,) = bbs.desired_lrps()
    held = run(bbs)
    emitted = bbs.subscribe("instances")
    bbs.remove_desired("p")
    first, *rest = drain(emitted)
    assert first == DesiredLRPRemoved(kept)
    assert types(rest) == ["removed"]
    assert bbs.actual_lrps() == [held]
    assert bbs.take_stop_requests() == (StopRequest("p", 0, A),)


def test_removing_leaves_evacuating_rows(bbs: Diego) -> None:
    bbs.desire(wanted())
    run(bbs)
    bbs.evacuate_running("p", 0, A)
    bbs.remove_desired("p")
    assert [each.presence.name for each in bbs.actual_lrps()] == ["EVACUATING"]
    assert bbs.take_stop_requests() == ()


def test_what_is_not_desired_is_neither_updated_nor_removed(bbs: Diego) -> None:
    with pytest.raises(ResourceNotFound):
        bbs.update_desired("p", instances=1)
    with pytest.raises(ResourceNotFound):
        bbs.remove_desired("p")


def test_an_invalid_update_is_refused_and_changes_nothing(bbs: Diego) -> None:
    bbs.desire(wanted())
    before = bbs.snapshot()
    with pytest.raises(RequestRefused, match="instances"):
        bbs.update_desired("p", instances=-1)
    assert bbs.snapshot() == before


def test_a_domain_is_fresh_for_its_time_to_live(bbs: Diego) -> None:
    bbs.upsert_domain("short", ttl=10)
    assert bbs.domains() == ("cf-apps", "short")
    bbs.advance(10)
    assert bbs.domains() == ("cf-apps",)


def test_a_domain_without_a_name_is_refused(bbs: Diego) -> None:
    with pytest.raises(RequestRefused) as refusal:
        bbs.upsert_domain("")
    assert refusal.value.type == "InvalidRequest"


def test_filters_of_desired_lrps_are_met_together(bbs: Diego) -> None:
    for guid, domain in [("app1-v1", "cf-apps"), ("app1-v2", "other"), ("app2-v1", "cf-apps")]:
        bbs.desire(wanted(guid, domain=domain))

    def guids(found: list[DesiredLRP]) -> list[str]:
        return [each.process_guid for each in found]

    assert guids(bbs.desired_lrps(app_guids=["app1"])) == ["app1-v1", "app1-v2"]
    assert guids(bbs.desired_lrps(domain="cf-apps", app_guids=["app1"])) == ["app1-v1"]
    assert guids(bbs.desired_lrps(process_guids=["app1-v2", "app2-v1"])) == ["app1-v2", "app2-v1"]
    assert guids(bbs.desired_lrps(domain="cf-apps", process_guids=["app1-v2"])) == []


def test_filters_of_rows_are_met_together(bbs: Diego) -> None:
    bbs.desire(wanted("p", 2))
    bbs.desire(wanted("q", 1, domain="other"))
    run(bbs, A, 1)
    assert bbs.actual_lrps(cell_id="cell-a") == [row(bbs, 1)]
    assert bbs.actual_lrps(process_guid="p", index=0) == [row(bbs, 0)]
    assert [each.process_guid for each in bbs.actual_lrps(domain="other")] == ["q"]
    assert bbs.actual_lrps(domain="other", cell_id="cell-a") == []
    assert {each.process_guid for each in bbs.actual_lrps_by_process_guids(["q", "q", "none"])} == {"q"}
