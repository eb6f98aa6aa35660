"""HAProxy and nginx as processes, on the configurations that we ship, edited as an operator would."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import grp
import ipaddress
import os
import shutil
import signal
import ssl
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster.servers import free_port

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "balancers"
SECONDS_MAX = 30
KINDS = ("haproxy", "nginx")
CONNECTIONS_MAX = 1_000
"""Enough here, and within any machine's limit of open files."""


class Certificate:
    """A certificate for 127.0.0.1 that nobody but these tests trusts."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "palestra test")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.chain = folder / "chain.pem"
        self.key = folder / "chain.key"
        self.whole = folder / "whole.pem"
        self.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(private)
        self.whole.write_bytes(self.chain.read_bytes() + private)

    @property
    def trust(self) -> ssl.SSLContext:
        """For clients: this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.chain))


class Balancer:
    """One running balancer, with a plain port and one with TLS."""

    def __init__(self, kind: str, folder: Path, certificate: Certificate) -> None:
        self.kind = kind
        self.plain_port, self.tls_port = free_port(), free_port()
        self._folder = folder
        self._certificate = certificate
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where it is reached without TLS."""
        return f"http://127.0.0.1:{self.plain_port}"

    @property
    def tls_url(self) -> str:
        """Where it is reached with TLS."""
        return f"https://127.0.0.1:{self.tls_port}"

    @property
    def log(self) -> str:
        """What it has written."""
        file = self._folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def configure(self, ports: Sequence[int], *, redirect: bool = False, edits: dict[str, str] | None = None) -> None:
        """Write its configuration: the shipped one, for nodes on these ports of this machine, with further edits."""
        made = self._haproxy(ports, redirect) if self.kind == "haproxy" else self._nginx(ports, redirect)
        for old, new in (edits or {}).items():
            assert old in made, old
            made = made.replace(old, new)
        self._file.write_text(made)

    async def start(self) -> None:
        """Start it and wait until it answers."""
        if self.kind == "haproxy":
            command = [_program("haproxy"), "-W", "-f", str(self._file)]
        else:
            command = [_program("nginx"), "-c", str(self._file), "-g", "daemon off;"]
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=log, stderr=STDOUT, start_new_session=True
            )
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                assert self._process.returncode is None, f"{self.kind} ended at once:\n{self.log}"
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.plain_port)
                    writer.close()
                    return
                await asyncio.sleep(0.01)

    async def reload(self) -> set[int]:
        """Have it read its configuration again, and wait until it serves by it; the processes that now end."""
        assert self._process is not None, "start it first"
        before = self.workers()
        self._process.send_signal(signal.SIGUSR2 if self.kind == "haproxy" else signal.SIGHUP)
        async with asyncio.timeout(SECONDS_MAX):
            while not self.workers() - before:  # noqa: ASYNC110 - another process tells nobody
                await asyncio.sleep(0.01)
        return before

    async def ended(self, workers: set[int]) -> None:
        """Wait until these processes of it have ended."""
        async with asyncio.timeout(SECONDS_MAX):
            while self.workers() & workers:  # noqa: ASYNC110 - another process tells nobody
                await asyncio.sleep(0.01)

    def workers(self) -> set[int]:
        """Its processes that serve."""
        assert self._process is not None, "start it first"
        pid = self._process.pid
        return {int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    async def stop(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    @property
    def _file(self) -> Path:
        return self._folder / f"{self.kind}.conf"

    def _haproxy(self, ports: Sequence[int], redirect: bool) -> str:
        text = (SHIPPED / "haproxy.cfg").read_text()
        text = _replaced(text, "bind :80", f"bind 127.0.0.1:{self.plain_port}")
        text = _replaced(text, "bind :443 ssl crt /etc/haproxy/palestra.pem", self._haproxy_tls())
        text = _replaced(text, "    maxconn 40000\n", f"    maxconn {CONNECTIONS_MAX}\n")
        if os.geteuid() != 0:
            text = _without(text, ["user haproxy", "group haproxy"])
        text = _replaced(text, "/run/haproxy/palestra.sock", str(self._folder / "admin.sock"))
        for number, port in enumerate(ports, 1):
            text = _replaced(text, f"10.0.0.1{number}:7350", f"127.0.0.1:{port}")
        return _without(text, ["10.0.0.", *([] if redirect else ["http-request redirect scheme"])])

    def _haproxy_tls(self) -> str:
        return f"bind 127.0.0.1:{self.tls_port} ssl crt {self._certificate.whole}"

    def _nginx(self, ports: Sequence[int], redirect: bool) -> str:
        text = (SHIPPED / "nginx.conf").read_text()
        text = _replaced(text, "listen 80;", f"listen 127.0.0.1:{self.plain_port};")
        text = _replaced(text, "listen 443", f"listen 127.0.0.1:{self.tls_port}")
        text = _replaced(text, "/etc/nginx/palestra.pem", str(self._certificate.chain))
        text = _replaced(text, "/etc/nginx/palestra.key", str(self._certificate.key))
        text = _replaced(text, "worker_connections 40000;", f"worker_connections {CONNECTIONS_MAX};")
        text = _replaced(text, "worker_rlimit_nofile 90000;", f"worker_rlimit_nofile {4 * CONNECTIONS_MAX};")
        text = _replaced(text, "/run/nginx.pid", str(self._folder / "nginx.pid"))
        folders = "\n".join(
            f"    {kind}_temp_path {self._folder / kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = _replaced(text, "http {\n", f"http {{\n{folders}\n")
        for number, port in enumerate(ports, 1):
            text = _replaced(text, f"10.0.0.1{number}:7350", f"127.0.0.1:{port}")
        # Its processes read what only this test's account may.
        user = f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};\n"
        return user + _without(text, ["server 10.0.0.", *([] if redirect else ["return 308"])])


@contextlib.asynccontextmanager
async def balancing(
    kind: str, folder: Path, ports: Sequence[int], *, redirect: bool = False, edits: dict[str, str] | None = None
) -> AsyncIterator[tuple[Balancer, Certificate]]:
    """A balancer in front of nodes on these ports, and the certificate that it shows."""
    certificate = Certificate(folder)
    balancer = Balancer(kind, folder, certificate)
    balancer.configure(ports, redirect=redirect, edits=edits)
    try:
        await balancer.start()
        yield balancer, certificate
    except BaseException as error:
        error.add_note(f"--- {kind}\n{balancer.log[-4_000:]}")
        raise
    finally:
        await balancer.stop()


def _program(name: str) -> str:
    """Where a server of the system is; Debian keeps it where only root's PATH looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    assert found, f"{name} is needed and not on PATH: install it, or leave these tests out with -m 'not servers'"
    return found


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"the shipped configuration has {old!r} {text.count(old)} times"
    return text.replace(old, new)


def _without(text: str, parts: list[str]) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.lstrip().startswith("#") or not any(part in line for part in parts))
