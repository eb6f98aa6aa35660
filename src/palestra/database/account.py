"""Starting the database server when the node runs as root, which PostgreSQL itself refuses to do."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from palestra.core.errors import SetupError

ACCOUNTS = ("palestra", "postgres", "nobody")
"""Accounts a server may run as, the most fitting first."""

# Numbers of the Linux interface.
_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


class Account(NamedTuple):
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


def account_for(cluster: Path) -> Account | None:
    """The account the server of this directory runs as; None when the node is not root and needs no other.

    It is the owner of the directory, or the first of ACCOUNTS when the directory does not exist or belongs to root.
    Raises SetupError when this machine has none of them.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid != 0:
            return Account(str(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise SetupError(
        "PostgreSQL does not run as root and there is no account to run it as.\n"
        "Make one (useradd --system palestra), start as another user, or give a --database-url."
    )


def blocked_directory(path: Path, account: Account) -> Path | None:
    """The first directory on the way to `path` that the account may not enter, or None."""
    for parent in reversed(path.resolve().parents):
        found = parent.stat()
        if found.st_uid == account.uid:
            allowed = found.st_mode & stat.S_IXUSR
        elif found.st_gid == account.gid:
            allowed = found.st_mode & stat.S_IXGRP
        else:
            allowed = found.st_mode & stat.S_IXOTH
        if not allowed:
            return parent
    return None


def preparation(account: Account | None, blocked: Path | None, at_parents_death: signal.Signals) -> Callable[[], None]:
    """What a child does between fork and exec: become the account, and ask to be stopped when the node dies.

    When directories on the way are closed to the account (`blocked`), the child keeps the one capability that opens
    them: still far less than the root it came from. Only Linux can do that and the other thing. The death of a node
    is, for Linux, the death of the thread that forked: call this from a thread that lives as long as the node.
    """
    if blocked is not None and not sys.platform.startswith("linux"):
        assert account is not None
        raise SetupError(unreachable(blocked, account))
    # Loaded and looked up here, before the fork: the child of a process with threads must not take locks.
    libc = ctypes.CDLL(None, use_errno=True)
    prctl, capset = libc.prctl, libc.capset
    node = os.getpid()

    def prepare() -> None:
        if account is not None:
            if blocked is not None:
                # Without this bit, access() answers an account other than root as if it had no capabilities, and
                # initdb would not find the programs beside it. It also keeps setuid() from dropping what we keep.
                _checked(prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
            os.setgroups([account.gid])
            os.setgid(account.gid)
            os.setuid(account.uid)
            if blocked is not None:
                _keep_access(prctl, capset)
        if sys.platform.startswith("linux"):
            _checked(prctl(_PR_SET_PDEATHSIG, int(at_parents_death), 0, 0, 0))
            if os.getppid() != node:
                os._exit(1)

    return prepare


def unreachable(blocked: Path | None, account: Account) -> str:
    """What to tell the operator when the server could not be started as the account."""
    if blocked is None:
        return (
            f"PostgreSQL does not run as root, and this process may not become account {account.name!r}.\n"
            "Start it as a user other than root, or give a --database-url."
        )
    return (
        f"PostgreSQL does not run as root, and account {account.name!r}, which it would run as, "
        f"may not enter {blocked}.\n"
        f"Allow it (chmod o+x {blocked}), use another --data-dir or virtual environment, or give a --database-url."
    )


def hand_over(directory: Path, account: Account) -> None:
    """Make a directory and all in it the account's own."""
    os.chown(directory, account.uid, account.gid)
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            os.lchown(os.path.join(folder, name), account.uid, account.gid)


def _keep_access(prctl: Callable[..., int], capset: Callable[..., int]) -> None:
    mask = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _checked(capset(header, data))
    _checked(prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused")
