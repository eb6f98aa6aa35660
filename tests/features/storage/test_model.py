"""Random sequences of writes and deletes answer and end exactly as a dictionary would."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palestra.core.errors import PalestraError
from palestra.core.ids import new_id
from palestra.features.storage.contract import (
    DeleteRejected,
    ObjectId,
    ObjectWrite,
    VersionRejected,
    WriteDenied,
)
from palestra.features.storage.service import StorageService


class Entry(msgspec.Struct):
    """What the model knows of an object."""

    version: str
    permission_read: int
    permission_write: int


def version_of(number: int) -> str:
    return hashlib.md5(f'{{"n":{number}}}'.encode(), usedforsecurity=False).hexdigest()


keys = st.sampled_from(["a", "b", "c"])
versions = st.one_of(st.sampled_from(["", "*"]), st.integers(0, 3).map(version_of))
writes = st.builds(
    lambda key, number, version, read, write: ObjectWrite("model", key, f'{{"n":{number}}}', "", version, read, write),
    keys,
    st.integers(0, 3),
    versions,
    st.integers(0, 2),
    st.sampled_from([1, 1, 1, 0]),
)
deletes = st.builds(lambda key, version: ObjectId("model", key, "", version.replace("*", "")), keys, versions)
steps = st.lists(
    st.tuples(st.booleans(), st.one_of(st.lists(writes, min_size=1, max_size=4), st.lists(deletes, max_size=3))),
    max_size=12,
)


def apply_write(model: dict[str, Entry], write: ObjectWrite, server: bool) -> None:
    entry = model.get(write.key)
    if write.version == "*" and entry:
        raise VersionRejected
    if write.version not in ("", "*") and not entry:
        raise VersionRejected
    if entry and not entry.permission_write and not server:
        raise WriteDenied
    if entry and write.version not in ("", "*", entry.version):
        raise VersionRejected
    version = hashlib.md5(write.value.encode(), usedforsecurity=False).hexdigest()
    model[write.key] = Entry(version, write.permission_read, write.permission_write)


def apply_step(model: dict[str, Entry], step: list[Any], server: bool) -> dict[str, Entry]:
    """The model after a step. Raises what the step is refused with."""
    after = dict(model)
    if all(isinstance(one, ObjectWrite) for one in step):
        for write in sorted(step, key=lambda one: one.key):
            apply_write(after, write, server)
        return after
    for delete in step:
        entry = after.pop(delete.key, None)
        if not entry or (delete.version and delete.version != entry.version):
            raise DeleteRejected
        if not entry.permission_write and not server:
            raise DeleteRejected
    return after


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
async def test_any_sequence_of_operations_behaves_as_a_dictionary(
    storage: StorageService, sequence: list[tuple[bool, list[Any]]]
) -> None:
    owner = new_id()
    model: dict[str, Entry] = {}
    for server, step in sequence:
        owned = [msgspec.structs.replace(one, user_id=owner) for one in step]
        expected: type[BaseException] | None = None
        try:
            model = apply_step(model, step, server)
        except PalestraError as error:
            expected = type(error)
        got: type[BaseException] | None = None
        caller = None if server else owner
        try:
            if all(isinstance(one, ObjectWrite) for one in owned):
                acks = await storage.write(owned, caller_id=caller)
                assert [(ack.key, ack.user_id) for ack in acks] == [(one.key, owner) for one in owned]
            else:
                await storage.delete(owned, caller_id=caller)
        except PalestraError as error:
            got = type(error)
        assert got is expected
        stored = {
            one.key: Entry(one.version, one.permission_read, one.permission_write)
            for one in (await storage.list("model", owner)).objects
        }
        assert stored == model
