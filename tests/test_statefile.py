"""The state file by itself: what is written is read, and whatever else is there is refused, set aside and said."""

import errno
import os
import stat
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest
from core_support import desired, law, running
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from statefile_support import BBS, loaded, save, saved, small
from wire_support import TEXT, cells, full_desired_lrps, rows

from lrpmirror.core.knowledge import ExportedState
from lrpmirror.detail import DesiredLRPDetail, EnvironmentVariable
from lrpmirror.errors import StateFileError
from lrpmirror.model import ActualLRP, Presence
from lrpmirror.redaction import without_secrets
from lrpmirror.statefile import Disk, StateFile
from lrpmirror.statefile._format import parts
from lrpmirror.wire import decode, encode
from lrpmirror.wire.lazy import LazyActualLRP

exported_states = st.builds(
    ExportedState,
    revision=st.integers(0, 2**62 - 1),
    actual_lrps=st.lists(rows, max_size=4).map(tuple),
    desired_lrps=st.lists(full_desired_lrps, max_size=2).map(tuple),
    retained=st.lists(full_desired_lrps, max_size=1).map(tuple),
    domains=st.frozensets(TEXT, max_size=3),
    cells=st.lists(cells, max_size=2).map(tuple),
)


def redacted(exported: ExportedState) -> ExportedState:
    return replace(
        exported,
        desired_lrps=tuple(map(without_secrets, exported.desired_lrps)),
        retained=tuple(map(without_secrets, exported.retained)),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


# What is written is read


@law(150)
@given(exported=exported_states)
def test_what_is_read_is_what_was_written_but_for_the_secrets(
    exported: ExportedState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    save(StateFile(path), exported)

    assert loaded(path) == redacted(exported)


@law(60)
@given(one=rows, presence=st.sampled_from([0, 1, 2]))
def test_a_row_from_the_wire_is_written_as_it_is_now_and_stays_unread(
    one: ActualLRP, presence: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    listed = decode.actual_lrp(encode.actual_lrp(one))
    moved = replace(listed, presence=Presence(presence), epoch="moved")
    save(StateFile(path), small(actual_lrps=(listed, moved)))

    assert all(isinstance(row, LazyActualLRP) and row.memory.known is None for row in (listed, moved))
    found = loaded(path)
    assert found is not None
    assert found.actual_lrps == (one, replace(one, presence=Presence(presence), epoch="moved"))


def test_the_indexes_of_what_was_read_are_those_of_its_rows(path: Path) -> None:
    saved(path)
    found = StateFile(path).load(BBS)

    assert found is not None
    found.store._check()
    assert len(found.store) == 2
    assert found.store.domains == {"apps", "tasks"}


def test_where_there_is_no_file_yet_there_is_no_state(path: Path) -> None:
    assert StateFile(path).load(BBS) is None


@pytest.mark.parametrize(
    ("taken_at", "age", "now", "then"),
    [
        (1000, 0, 1060, 60),
        (1000, 7, 1060, 67),
        (1000, 7, 1000, 7),
        (1000, 7, 999.9, None),
        (1000, 0, 400, None),
        (-5, -3, 10, 10),
    ],
)
def test_the_age_counts_by_the_clock_on_the_wall_and_is_not_known_where_that_was_set_back(
    path: Path, taken_at: float, age: float, now: float, then: float | None
) -> None:
    saved(path, taken_at=taken_at, age=age)
    found = StateFile(path, wall=lambda: now).load(BBS)

    assert found is not None
    assert found.age == then


def test_many_records_are_written_in_small_parts() -> None:
    many = tuple(running(f"e{n}") for n in range(1000))
    sizes = [len(part) for part in parts(small(actual_lrps=many), bbs=BBS, taken_at=0, age=0)]

    assert max(sizes) < 20_000
    assert len(sizes) > 15


# Secrets and permissions


def test_no_secret_is_in_the_file(path: Path) -> None:
    secrets = ["marked-route", "marked-environment", "marked-password", "marked-user", "marked-custom"]
    detail = DesiredLRPDetail(
        environment_variables=(EnvironmentVariable(name="A", value="marked-environment"),),
        image_username="marked-user",
        image_password="marked-password",  # noqa: S106 - the mark that is looked for
    )
    routes = {"cf-router": b"[]", "diego-ssh": b'{"private_key":"marked-route"}', "own": b'"marked-custom"'}
    lrp = desired(routes=routes, detail=detail)
    data = saved(path, small(desired_lrps=(lrp,), retained=(replace(lrp, process_guid="q"),)))

    assert [secret for secret in secrets if secret.encode() in data] == []
    assert b"diego-ssh" in data


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_the_files_are_for_their_owner_alone_under_any_umask(path: Path, umask: int) -> None:
    modes: list[int] = []

    class Looking(Disk):
        def create(self, path: Path) -> int:
            descriptor = super().create(path)
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            return descriptor

    before = os.umask(umask)
    try:
        file = StateFile(path, disk=Looking())
        file.acquire()
        save(file, small())
        file.release()
    finally:
        os.umask(before)
    modes += [stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()]

    assert modes == [0o600] * 3


# Files that are of no use


def test_every_truncated_file_is_reported_and_set_aside(path: Path) -> None:
    whole = saved(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StateFileError, match="begins without a state"):
            StateFile(path).load(BBS)
        assert not path.exists()
        assert Path(f"{path}.damaged").read_bytes() == whole[:length]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A state file as a mirror writes it; once, since the disk has to confirm it."""
    return saved(tmp_path_factory.mktemp("written") / "state")


@law(400)
@given(data=st.data())
def test_flipped_bytes_end_in_an_error_or_in_what_was_written(
    written: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    whole = bytearray(written)
    for at, bits in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        whole[at] ^= bits
    path.write_bytes(whole)
    try:
        assert loaded(path) == small()
    except StateFileError:
        assert not path.exists(), "it is set aside"


@law(400)
@given(data=st.data())
def test_content_that_no_mirror_writes_ends_in_an_error_also_under_a_right_checksum(
    written: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("law") / "state"
    whole = bytearray(written[:-16])
    first = whole.index(b"\n") + 1
    kind = data.draw(st.sampled_from(["flip", "cut", "garbage"]))
    if kind == "flip":
        for at, bits in data.draw(st.lists(st.tuples(st.integers(first, len(whole) - 1), st.integers(0, 255)))):
            whole[at] ^= bits
    elif kind == "cut":
        del whole[data.draw(st.integers(first, len(whole))) :]
    else:
        whole[first:] = data.draw(st.binary(max_size=200))
    path.write_bytes(whole + blake2b(whole, digest_size=16).digest())
    try:
        found = StateFile(path).load(BBS)
    except StateFileError:
        return
    assert found is not None
    found.store._check()


def test_a_file_that_goes_on_after_its_last_record_is_damaged(path: Path) -> None:
    whole = saved(path)[:-16] + b"\0\0\0\0"
    path.write_bytes(whole + blake2b(whole, digest_size=16).digest())
    with pytest.raises(StateFileError, match="goes on after its last record"):
        StateFile(path).load(BBS)


def test_a_header_cannot_ask_for_more_memory_than_the_file_has_bytes(path: Path) -> None:
    whole = saved(path)[:-16].replace(b'"cells":0', b'"cells":9')
    path.write_bytes(whole + blake2b(whole, digest_size=16).digest())
    with pytest.raises(StateFileError, match="in the middle of a record"):
        StateFile(path).load(BBS)
    header = whole.replace(b'"actual_lrps":2', b'"actual_lrps":9999999999999')
    at = whole.index(b"\n") + 1
    length = int.from_bytes(whole[at : at + 4], "big") + 12
    header = header[:at] + length.to_bytes(4, "big") + header[at + 4 :]
    path.write_bytes(header + blake2b(header, digest_size=16).digest())
    with pytest.raises(StateFileError, match="no room for them"):
        StateFile(path).load(BBS)


@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        (b"127.0.0.1 localhost\n", "foreign", "is no state file of lrpmirror"),
        (b"\0" * 4096, "foreign", "is no state file of lrpmirror"),
        (b"lrpmirror state 2\nwhatever", "future", "has format 2, and this lrpmirror reads formats up to 1"),
        (b"lrpmirror state 0\n", "damaged", "names no version"),
        (b"lrpmirror state one\n", "damaged", "names no version"),
        (b"lrpmirror state 99999999999\n", "damaged", "names no version"),
        (b"", "damaged", "has 0 bytes only"),
    ],
)
def test_a_file_of_another_kind_is_set_aside_by_its_kind(path: Path, content: bytes, kind: str, why: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StateFileError) as caught:
        StateFile(path).load(BBS)

    aside = Path(f"{path}.{kind}")
    assert aside.read_bytes() == content
    assert not path.exists()
    for part in (str(path), why, f"it is now {aside}", "the mirror begins without a state"):
        assert part in str(caught.value)


def test_the_state_of_another_bbs_is_foreign(path: Path) -> None:
    saved(path, bbs="https://other.example:8889")
    with pytest.raises(StateFileError, match=r"has the state of https://other\.example:8889, not of https://bbs\.ex"):
        StateFile(path).load(BBS)

    assert Path(f"{path}.foreign").exists()


def test_of_what_is_set_aside_one_file_of_each_kind_is_kept(path: Path) -> None:
    for n in range(3):
        path.write_bytes(b"lrpmirror state 1\n%d" % n)
        with pytest.raises(StateFileError):
            StateFile(path).load(BBS)

    assert [one.name for one in path.parent.iterdir()] == ["state.damaged"]
    assert Path(f"{path}.damaged").read_bytes().endswith(b"2")


def test_a_file_that_cannot_be_set_aside_is_ignored_all_the_same(path: Path) -> None:
    path.write_bytes(b"lrpmirror state 1\n")
    Path(f"{path}.damaged").mkdir()
    with pytest.raises(StateFileError, match=r"could not be set aside as .*\.damaged"):
        StateFile(path).load(BBS)


def test_a_file_that_was_released_while_it_was_read_is_left_alone(path: Path) -> None:
    path.write_bytes(b"lrpmirror state 1\n")
    file = StateFile(path)
    file.acquire()
    file.release()
    with pytest.raises(StateFileError, match="it stays where it is"):
        file.load(BBS)

    assert path.exists()


def test_a_disk_that_fails_during_a_read_is_an_error_that_says_so(path: Path) -> None:
    class Failing(Disk):
        def reading(self, path: Path) -> Any:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    saved(path)
    with pytest.raises(StateFileError, match="cannot be read: Input/output error"):
        StateFile(path, disk=Failing()).load(BBS)

    assert loaded(path) == small()


def test_random_garbage_is_never_more_than_an_error(path: Path) -> None:
    rng = Random(5)
    for _ in range(300):
        path.write_bytes(b"lrpmirror state 1\n"[: rng.randrange(19)] + rng.randbytes(rng.randrange(60)))
        with pytest.raises(StateFileError):
            StateFile(path).load(BBS)
