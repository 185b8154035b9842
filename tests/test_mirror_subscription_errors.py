"""Callbacks and filters of subscribers that raise: what their failures do, by the policy of each subscription."""

import asyncio
import logging
from collections.abc import Callable

import pytest
import trio
from mirror_support import FakeBBS, RowChange, mirroring, settled, simulated, small, two
from sim_support import B

from lrpmirror import ActualLRP


def fail(_: object) -> None:
    raise ValueError("broken on purpose")


async def fail_later(_: object) -> None:
    await trio.sleep(0.1)
    raise ValueError("broken on purpose")


def fail_oddly(_: object) -> None:
    raise asyncio.CancelledError("broken on purpose")


@pytest.mark.parametrize("callback", [fail, fail_later])
@simulated
async def test_by_default_a_callbacks_error_ends_the_block(callback: Callable[[object], object]) -> None:
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the whole block is what ends
        async with mirroring(FakeBBS(small())) as mirror:
            mirror.subscribe(callback)
            await trio.sleep_forever()
    assert _leaves(caught.value) == ["broken on purpose"]


@simulated
async def test_a_callbacks_error_ends_the_block_also_where_it_works_in_a_nursery_of_its_own() -> None:
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the whole block is what ends
        async with mirroring(FakeBBS(small())) as mirror, trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            mirror.subscribe(fail)
            await trio.sleep_forever()
    assert _leaves(caught.value) == ["broken on purpose"]


def _leaves(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [str(error)]


@pytest.mark.parametrize("callback", [fail, fail_later, fail_oddly])
@simulated
async def test_errors_that_are_logged_stop_no_subscriber(
    callback: Callable[[object], object], caplog: pytest.LogCaptureFixture
) -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []
        mirror.subscribe(callback, errors="log")
        mirror.subscribe(notified.append)
        await trio.sleep(1)
        assert mirror.status.live
    assert len(notified) == 2
    assert len(caplog.records) == 2
    assert all(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


@pytest.mark.parametrize("callback", [fail, fail_later, fail_oddly])
@simulated
async def test_an_error_can_end_its_subscription_alone(
    callback: Callable[[object], object], caplog: pytest.LogCaptureFixture
) -> None:
    diego = two()
    async with mirroring(FakeBBS(diego)) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []
        subscription = mirror.subscribe(callback, errors="cancel")
        mirror.subscribe(notified.append)
        await trio.sleep(1)
        assert subscription.cancelled
        diego.claim("q", 0, B)
        await trio.sleep(1)
        assert mirror.status.live
    assert len(notified) == 3
    assert len(caplog.records) == 1


@simulated
async def test_the_log_names_the_key_and_not_the_values(caplog: pytest.LogCaptureFixture) -> None:
    diego = small()
    diego.update_desired("p", annotation="a secret")
    async with mirroring(FakeBBS(diego)) as mirror:
        mirror.subscribe_desired(fail, errors="log")
        await trio.sleep(1)
    assert "change of p at revision" in caplog.text
    assert "a secret" not in caplog.text


def picky(row: ActualLRP) -> bool:
    if row.process_guid == "q":
        raise ValueError("the filter does not like q")
    return True


@simulated
async def test_a_filter_that_fails_ends_the_block_by_default() -> None:
    async def subscribed() -> None:
        async with mirroring(FakeBBS(two())) as mirror:
            await mirror.wait_synced()
            mirror.subscribe(print, where=picky)
            await trio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        await subscribed()
    assert caught.group_contains(ValueError, match="does not like q")


@simulated
async def test_a_filter_that_fails_is_logged_and_hides_only_what_it_failed_on(caplog: pytest.LogCaptureFixture) -> None:
    async with mirroring(FakeBBS(two())) as mirror:
        await mirror.wait_synced()
        notified: list[RowChange] = []
        subscription = mirror.subscribe(notified.append, where=picky, errors="log")
        await settled()
        assert {change.after.process_guid for change in notified if change.after is not None} == {"p"}
        assert "the filter `where` of a subscriber failed" in caplog.text
        assert not subscription.cancelled


@simulated
async def test_a_filter_that_fails_ends_its_subscription_where_that_is_the_policy() -> None:
    async with mirroring(FakeBBS(two())) as mirror:
        await mirror.wait_synced()
        subscription = mirror.subscribe(print, where=picky, errors="cancel")
        await settled()
        assert subscription.cancelled


@simulated
async def test_an_iteration_raises_what_its_filter_raised() -> None:
    async with mirroring(FakeBBS(two())) as mirror:
        await mirror.wait_synced()
        async with mirror.changes(where=picky) as changes:
            with pytest.raises(ValueError, match="does not like q"):
                await anext(changes)
