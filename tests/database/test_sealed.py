"""Sealing: what opens, what must not, and how the key ring is kept."""

from __future__ import annotations

import hmac
import json
import os
import threading
from pathlib import Path

import pytest

from palestra.core.errors import SetupError
from palestra.database.sealed import KeyRing, SealBroken, Sealer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "ring.json"


@pytest.fixture
def sealer(path: Path) -> Sealer:
    return Sealer(KeyRing.load_or_create(path))


def test_what_was_sealed_opens_again_after_a_restart(path: Path) -> None:
    sealed = Sealer(KeyRing.load_or_create(path)).seal("ann@example.org ✓", b"row 1")
    assert b"example" not in sealed
    assert Sealer(KeyRing.load_or_create(path)).open(sealed, b"row 1") == "ann@example.org ✓"


def test_sealing_the_same_text_twice_shows_no_likeness(sealer: Sealer) -> None:
    assert sealer.seal("same", b"row") != sealer.seal("same", b"row")


def test_a_value_moved_to_another_row_refuses_to_open(sealer: Sealer) -> None:
    with pytest.raises(SealBroken, match="moved here from another row"):
        sealer.open(sealer.seal("secret", b"row 1"), b"row 2")


def test_a_change_of_any_byte_is_noticed(sealer: Sealer) -> None:
    sealed = sealer.seal("secret", b"row")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            sealer.open(bytes(changed), b"row")


def test_a_value_cut_short_at_any_length_is_noticed(sealer: Sealer) -> None:
    sealed = sealer.seal("secret", b"row")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            sealer.open(sealed[:length], b"row")


def test_a_missing_key_is_named(sealer: Sealer, tmp_path: Path) -> None:
    sealed = sealer.seal("secret", b"row")
    stranger = Sealer(KeyRing.load_or_create(tmp_path / "other.json"))
    with pytest.raises(SealBroken, match=f"key {sealed[1:5].hex()} is missing"):
        stranger.open(sealed, b"row")


def test_after_rotation_new_values_use_the_new_key_and_old_ones_still_open(path: Path) -> None:
    old_ring = KeyRing.load_or_create(path)
    before = Sealer(old_ring)
    sealed = before.seal("secret", b"row")
    old_ring.rotate()
    ring = KeyRing.load_or_create(path)
    after = Sealer(ring)
    assert ring.active != old_ring.active
    assert after.open(sealed, b"row") == "secret"
    assert after.seal("secret", b"row")[1:5].hex() == ring.active
    assert after.index("email", "ann") == before.index("email", "ann")
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_the_blind_index_is_stable_and_its_own_for_each_kind_and_ring(sealer: Sealer, tmp_path: Path) -> None:
    index = sealer.index("email", "ann@example.org")
    assert len(index) == 32
    assert index == sealer.index("email", "ann@example.org")
    others = {
        sealer.index("device", "ann@example.org"),
        sealer.index("emaila", "nn@example.org"),
        Sealer(KeyRing.load_or_create(tmp_path / "other.json")).index("email", "ann@example.org"),
    }
    assert len(others | {index}) == 4


def test_the_blind_index_is_the_standard_keyed_hash_of_kind_and_text(path: Path) -> None:
    ring = KeyRing.load_or_create(path)
    expected = hmac.digest(ring.index_key, b"email\0ann", "sha256")
    assert Sealer(ring).index("email", "ann") == expected


def test_a_new_ring_is_readable_by_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        KeyRing.load_or_create(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_ring_open_to_other_accounts_is_refused_with_the_remedy(path: Path, mode: int) -> None:
    KeyRing.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(SetupError, match=f"chmod 600 {path}"):
        KeyRing.load_or_create(path)


def test_nodes_that_start_at_once_agree_on_one_ring(path: Path) -> None:
    rings: list[KeyRing] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        rings.append(KeyRing.load_or_create(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {ring.index_key for ring in rings} == {rings[0].index_key}
    assert len(rings) == 8
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda ring: "{",
        lambda ring: json.dumps({**ring, "active": "00000000"}),
        lambda ring: json.dumps({**ring, "index_key": "c2hvcnQ="}),
        lambda ring: json.dumps({**ring, "keys": {ring["active"]: "not base64!"}}),
        lambda ring: json.dumps({**ring, "active": "x", "keys": {"x": ring["index_key"]}}),
    ],
)
def test_a_damaged_ring_is_refused_and_left_as_it_is(path: Path, damage) -> None:
    KeyRing.load_or_create(path)
    text = damage(json.loads(path.read_text()))
    path.write_text(text)
    with pytest.raises(SetupError, match=str(path)):
        KeyRing.load_or_create(path)
    assert path.read_text() == text


def test_a_ring_does_not_print_its_keys(path: Path) -> None:
    ring = KeyRing.load_or_create(path)
    keys = json.loads(path.read_text())["keys"].values()
    assert not any(key in repr(ring) for key in keys)
