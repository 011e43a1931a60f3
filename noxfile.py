#!/usr/bin/env python3
"""The workshop: `python3 noxfile.py tests`, `python3 noxfile.py shop`, `python3 noxfile.py --list`.

Run as a program it needs nothing but Python ≥ 3.11: it fetches nox and uv into `.nox/` of this checkout
and hands the work to nox. If you have nox, `nox -s tests` does the same. All sessions but
the shop's share one environment, made at first use and again only when `pyproject.toml` changes;
nothing outside the checkout is touched but the cache of uv or pip. Words after the session's name go on to its program:
`python3 noxfile.py shop --port 9000`, `python3 noxfile.py tests tests/house -x`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HOME = ROOT / ".nox"
WORKSHOP = HOME / "workshop"
NOX = "nox>=2025.2.9"
UV = "uv>=0.7.2"
"""Installs what pip installs, in a third of the time. Without it pip does all of it."""
OLDEST = (3, 11)


def say(words: str) -> None:
    """Tell the person where we are; a step may take a minute."""
    print(f"\033[1m>>> {words}\033[0m" if sys.stdout.isatty() else f">>> {words}", flush=True)


def program(environment: Path, name: str) -> Path:
    """Where an environment keeps a program."""
    windows = os.name == "nt"
    return environment / ("Scripts" if windows else "bin") / (f"{name}.exe" if windows else name)


def stamp(*words: str) -> str:
    """A digest of all that an environment is made from."""
    parts = [(ROOT / "pyproject.toml").read_text(encoding="utf-8"), str(ROOT), sys.version, *words]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


# --- run as a program: fetch nox, then run it -------------------------------------------------


def bootstrap(words: list[str]) -> int:
    """Make sure that nox is there and run it with those words; without words, print what there is to run."""
    if not words:
        return print_commands()
    if sys.version_info < OLDEST:
        have = ".".join(map(str, sys.version_info[:2]))
        return fail(f"sdpatterns needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and this is {have} ({sys.executable})")
    mark = WORKSHOP / "stamp"
    wanted = stamp(NOX, UV)
    if not (mark.is_file() and mark.read_text() == wanted and program(WORKSHOP, "python").exists()):
        say("First run: fetching all that is needed into .nox/ takes one to four minutes; later runs start at once")
        try:
            fetch_nox()
        except (OSError, subprocess.CalledProcessError) as error:
            return fail(f"could not set up {WORKSHOP}: {error}")
        mark.write_text(wanted)
    python = str(program(WORKSHOP, "python"))
    command = [python, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *nox_words(words)]
    environment = {**os.environ, "PATH": f"{program(WORKSHOP, 'x').parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    return become(command, environment)


def print_commands() -> int:
    """The sessions of this file, each with the first line of its docstring. Starts and fetches nothing."""
    print("Commands:\n")
    for node in ast.parse(Path(__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and any(
            ast.unparse(mark) == "nox.session" for mark in node.decorator_list
        ):
            told = (ast.get_docstring(node) or "").partition("\n")[0]
            print(f"  python3 noxfile.py {node.name:12}{told}")
    print("\nStart with the shop. Its options: python3 noxfile.py shop --help")
    return 0


def become(command: list[str], environment: dict[str, str]) -> int:
    """Replace this process by the command, so that only the command gets Ctrl-C and other signals."""
    if os.name != "nt":
        os.chdir(ROOT)
        sys.stdout.flush()
        os.execve(command[0], command, environment)
    return subprocess.call(command, cwd=ROOT, env=environment)


def fetch_nox() -> None:
    """An environment with nox and uv in it, made with whatever this Python has for that."""
    shutil.rmtree(WORKSHOP, ignore_errors=True)
    WORKSHOP.parent.mkdir(exist_ok=True)
    say(f"Python {sys.version.split()[0]} at {sys.executable}: making .nox/workshop")
    if not (can("pip") or can("ensurepip")):
        installing_it_ourselves()
    # A pip of its own takes longer to make than all the rest; Debian may have pip but not ensurepip.
    with_pip = not can("pip")
    subprocess.run([sys.executable, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(WORKSHOP)], check=True)
    python = str(program(WORKSHOP, "python"))
    pip = [python, "-m", "pip"] if with_pip else [sys.executable, "-m", "pip", "--python", python]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check"]
    say("Fetching nox")
    # Only as a wheel: where there is none, building uv takes longer than pip takes for everything.
    fetched = subprocess.run([*install, "--only-binary=uv", UV], check=False, capture_output=True)
    if not (fetched.returncode == 0 and uv_installs(pip, python, NOX)):
        say("uv cannot be had or cannot install: pip does")
        subprocess.run([*install, NOX], check=True)


def uv_installs(pip: list[str], python: str, *packages: str, compiles: bool = True) -> bool:
    """Install with uv, from where that pip would; False where there is no uv or it could not."""
    uv = program(WORKSHOP, "uv")
    if not uv.exists():
        return False
    listed = subprocess.run([*pip, "config", "list"], check=False, stdout=subprocess.PIPE, text=True)
    own = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    # What is never imported need not be compiled; the rest is at its first import, where that is not forbidden.
    compiling = ["--compile-bytecode"] if compiles and os.environ.get("PYTHONDONTWRITEBYTECODE") else []
    words = [str(uv), "pip", "install", "--python", python, *compiling, *packages]
    around = {**os.environ, **uv_settings(listed.stdout), **own}
    return subprocess.run(words, cwd=ROOT, env=around, check=False).returncode == 0


PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "no-index": "UV_NO_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""Settings of pip, and the variables that tell uv the same: it does not read pip's files."""


def uv_settings(listed: str) -> dict[str, str]:
    """What `pip config list` printed, as variables for uv."""
    settings: dict[str, str] = {}
    lines = [line.partition("=") for line in listed.splitlines()]
    # In pip a variable precedes what stands under [install], and that precedes [global].
    for section in ("global.", "install.", ":env:."):
        for name, _, value in lines:
            variable = PIP_TO_UV.get(name.removeprefix(section)) if name.startswith(section) else None
            if variable:
                separator = "," if variable == "UV_FIND_LINKS" else " "
                settings[variable] = separator.join(str(ast.literal_eval(value)).split())
    if "UV_INDEX" in settings:
        # pip takes the newest release of all indexes; uv takes the first index that knows the name.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings


def can(module: str) -> bool:
    """Whether this Python has a module; looks again each time, because it may just have been installed."""
    importlib.invalidate_caches()
    return importlib.util.find_spec(module) is not None


def installing_it_ourselves() -> None:
    """Debian leaves both out of its Python: In CI, root installs them; other users see the command."""
    if not shutil.which("apt-get"):
        raise OSError("this Python has neither ensurepip nor pip; the fix: install pip for it")
    if not (os.environ.get("CI") and os.geteuid() == 0):
        raise OSError("this Python has neither ensurepip nor pip; the fix: apt-get install python3-venv")
    say("Installing python3-venv")
    subprocess.run(["apt-get", "update", "--quiet"], check=True)
    subprocess.run(["apt-get", "install", "--yes", "--quiet", "python3-venv"], check=True)


def nox_words(words: list[str]) -> list[str]:
    """`shop --port 9000` in nox's own words; whatever begins with a dash is nox's already."""
    if not words or words[0].startswith("-"):
        return words
    session, *rest = words
    rest = rest[1:] if rest[:1] == ["--"] else rest
    return ["--session", session, *(["--", *rest] if rest else [])]


def fail(words: str) -> int:
    """One clear line, and the exit code for it."""
    print(f"noxfile.py: {words}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(bootstrap(sys.argv[1:]))


# --- run by nox: the sessions -------------------------------------------------------------------

import nox  # noqa: E402 - only nox itself gets as far as this line
from nox.command import CommandFailed  # noqa: E402 - the same

nox.needs_version = NOX.removeprefix("nox")
nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests"]

DEVELOPMENT = ("dev", ("-e", ".[all,testing]", "--group", "dev"))
SHOP = ("shop", ("-e", ".", "--group", "shop"))
FLEET = ("fleet", (*SHOP[1], "--group", "fleet"))
CHECKOV = ("checkov", ("checkov>=3.3,<4",))
"""Apart, because it wants other versions of what the development environment has."""


def environment(session: nox.Session, name: str, packages: tuple[str, ...]) -> Path:
    """The named environment, installed into when what it is made from has changed."""
    place = HOME / name
    mark, wanted = place / "stamp", f"{sys.executable} {sys.version} {place}\n{stamp(*packages)}"
    had = mark.read_text() if mark.is_file() and program(place, "python").exists() else ""
    if had == wanted:
        return place
    say(f"Installing into .nox/{name}, once for this pyproject.toml")
    started = time.monotonic()
    if had.partition("\n")[0] != wanted.partition("\n")[0]:  # another Python, or a checkout that was moved
        session.run(sys.executable, "-m", "virtualenv", "--quiet", "--clear", str(place), external=True)
    mark.unlink(missing_ok=True)
    python = str(program(place, "python"))
    # What runs in these two may write bytecode: see `surroundings`.
    compiles = name not in {DEVELOPMENT[0], CHECKOV[0]}
    if not uv_installs([python, "-m", "pip"], python, *packages, compiles=compiles):
        say("uv cannot be had or cannot install: pip does")
        pip = (python, "-m", "pip", "install", "--disable-pip-version-check")
        session.run(*pip, "--upgrade", "--quiet", "pip>=25.1", external=True)
        session.run(*pip, *packages, external=True)
    mark.write_text(wanted)
    say(f"Installed in {time.monotonic() - started:.0f} s")
    return place


def run(session: nox.Session, name: str, *words: str, **options: object) -> None:
    """A program of the development environment, with that environment around it."""
    place = environment(session, *DEVELOPMENT)
    session.run(str(program(place, name)), *words, external=True, env=surroundings(place), **options)


def surroundings(place: Path) -> dict[str, str]:
    """The variables under which an environment's programs find each other."""
    path = f"{program(place, 'x').parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "PATH": path,
        "VIRTUAL_ENV": str(place),
        # Tests start some hundred processes; where a container forbids bytecode each compiles all of `src` once more.
        "PYTHONDONTWRITEBYTECODE": "",
        # Silences an advertisement in every build of the docs.
        "NO_MKDOCS_2_WARNING": "1",
    }


AGAIN_MAX = 3
"""More tests than this that fail in one run are no accident."""


def run_tests(session: nox.Session, name: str, *words: str) -> bool:
    """Run tests; up to `AGAIN_MAX` that fail are run once more, one by one, and named when they pass then.

    Whether all passed at once.

    Tests share the cores with each other, with servers, with a browser and with whatever else the machine does.
    CPython's own tests are run in the same way. A test that is named here has a fault, and is to be mended.
    """
    # Apart, because each run reads which tests failed in it.
    cache = f".pytest_cache/{name}"
    try:
        run(session, "pytest", "--cache-clear", "-o", f"cache_dir={cache}", "--durations=20", *words)
    except CommandFailed:
        failures = ROOT / cache / "v" / "cache" / "lastfailed"
        failed = list(json.loads(failures.read_text(encoding="utf-8"))) if failures.is_file() else []
        if not 0 < len(failed) <= AGAIN_MAX:
            raise
        say(f"Once more: {', '.join(failed)}")
        run(session, "pytest", "--numprocesses=0", "--no-cov", "-m", "", "-o", f"cache_dir={cache}", *failed)
        say(f"FLAKY, failed among other tests and passed when run again: {', '.join(failed)}")
        return False
    return True


SHOP_COMMAND = "python3 noxfile.py shop"
"""What the shop's hints begin with, so that they can be copied."""


@nox.session
def shop(session: nox.Session) -> None:
    """Start the reference shop. `shop scenario NAME` plays a scenario on it, `shop --help` lists both."""
    own = (["up"], ["scenario"], ["--help"], ["-h"])
    words = session.posargs if session.posargs[:1] in own else ["up", *session.posargs]
    place = environment(session, *(FLEET if "--fleet" in session.posargs else SHOP))
    command = [str(program(place, "python")), "-m", "shop", *words]
    sys.exit(become(command, {**os.environ, "PYTHONPATH": str(ROOT / "examples"), "SHOP_COMMAND": SHOP_COMMAND}))


WHOLE_SHOPS = ("tests/shop", "tests/e2e")
"""Tests that run whole shops: they wait more than they work, and are not measured for coverage."""

DEPLOY = "tests/deploy"
"""Tests that judge files and run none of our code: alone they are a session of their own."""

WORKERS = ("--numprocesses=2", "--dist=worksteal")
WAITING = ("--numprocesses=3", "--dist=worksteal")
"""One process more, for tests that wait for a server, a child or a pause a third of their time."""
LIBRARY = (*WAITING, *[f"--ignore={folder}" for folder in WHOLE_SHOPS])

PURE = (
    "tests/algorithms",
    "tests/core",
    "tests/resilience",
    "tests/backends/memory",
    "tests/contracts/test_memory.py",
    "tests/contracts/test_contracts_bite.py",
    "tests/contracts/test_verdicts.py",
    "tests/simulation",
    "tests/testing/test_clock.py",
    "tests/testing/test_faults.py",
    "tests/testing/test_loop.py",
    "tests/testing/test_plugin.py",
)
"""Tests that need neither a server nor Unix."""

LINT = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("interrogate", "src"),
    ("lint-imports",),
    ("towncrier", "build", "--draft", "--version", "next"),
    ("zizmor", "--offline", "--quiet", "--persona=pedantic", ".github"),
)
MYPY = ("mypy",)
TYPES = (MYPY, ("pyright",))
DOCS = (("mkdocs", "build", "--strict", "--quiet"),)


@nox.session
def tests(session: nox.Session) -> None:
    """What must hold with each change: lint, types, docs, then the tests. With words: only those tests."""
    if session.posargs:
        run(session, "pytest", *session.posargs)
        return
    tools(session, "prometheus", "prometheus-alertmanager", "etcd-server")
    browser(session)
    # mypy and mkdocs use one core each, which lint does not need, nor the tests all the time. pyright, which says the
    # same of `src` in most cases, is left to the session `types`, a job of CI's own.
    with beside(session, MYPY, *DOCS):
        lint(session)
        environment(session, *CHECKOV)
        say("Tests of the library, and what judges the files in deploy/")
        # Coverage doubles what they cost, so only the session `library` measures it, in a job of CI's own.
        run_tests(session, "library", *LIBRARY, "--no-cov")
        # Not at the same time: it was no quicker, because two busy cores do less than twice the work of one.
        shop_tests(session)


@nox.session
def library(session: nox.Session) -> None:
    """The tests of the library, with coverage or `--no-cov`."""
    tools(session, "prometheus", "prometheus-alertmanager", "etcd-server")
    say("Tests of the library")
    only = (*LIBRARY, f"--ignore={DEPLOY}")
    if "--no-cov" in session.posargs:
        run_tests(session, "library", *only, *session.posargs)
        return
    # Coverage is judged by a command of its own, because the tests may be right where it is too low.
    measured = ("--cov", "--cov-report=", "--cov-fail-under=0")
    if run_tests(session, "library", *only, *measured, *session.posargs):
        run(session, "coverage", "report")
    else:
        say("Coverage is not judged: what a process measured that died is lost")


@nox.session
def shop_tests(session: nox.Session) -> None:
    """The tests of the reference shop, over HTTP and in a browser."""
    tools(session, "prometheus", "prometheus-alertmanager")
    browser(session)
    say("Tests of the shop")
    # One folder after the other: a browser that one of them keeps open has a loop of asyncio in its thread, and a test
    # of the other one that starts a loop there would fail.
    over_http, in_a_browser = WHOLE_SHOPS
    run_tests(session, Path(over_http).name, *WAITING, over_http, *session.posargs)
    run_tests(session, Path(in_a_browser).name, *WORKERS, in_a_browser, *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """The tests marked `nightly`: rarer cases, more kills and whole scenarios, a quarter of an hour."""
    tools(session, "prometheus", "prometheus-alertmanager", "etcd-server")
    browser(session)
    environment(session, *CHECKOV)
    marked = ("-m", "nightly and not long", "--no-cov", *session.posargs)
    say("Nightly tests of the library and of deploy/")
    run_tests(session, "nightly", *WORKERS, *[f"--ignore={folder}" for folder in WHOLE_SHOPS], *marked)
    say("Nightly tests of the shop")
    for folder in WHOLE_SHOPS:
        run_tests(session, f"nightly-{Path(folder).name}", *WORKERS, folder, *marked)


@nox.session
def pure(session: nox.Session) -> None:
    """The tests that need no server and no Unix: what CI runs on macOS and Windows."""
    run(session, "pytest", *PURE, *session.posargs)


@nox.session
def static(session: nox.Session) -> None:
    """All that is checked without running the code: lint, types, docs, the files in deploy/."""
    lint(session)
    types(session)
    docs(session)
    deploy_checks(session)


@nox.session
def deploy_checks(session: nox.Session) -> None:
    """The files in deploy/: rendered, judged by schemas, checkov and rules of our own; no cluster is needed."""
    say("Deploy")
    tools(session, "prometheus")
    environment(session, *CHECKOV)
    run_tests(session, "deploy", *WORKERS, "--no-cov", DEPLOY, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, docstrings, layers, changelog fragments, workflows."""
    say("Lint")
    for program_name, *words in LINT:
        run(session, program_name, *words, silent=program_name == "towncrier")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strictly."""
    say("Types")
    for (program_name,) in TYPES:
        run(session, program_name)


@nox.session
def docs(session: nox.Session) -> None:
    """The site into site/, strictly; with `serve`, live on a local port."""
    say("Docs")
    ((program_name, *usual),) = DOCS
    run(session, program_name, *(session.posargs or usual))


@contextmanager
def beside(session: nox.Session, *commands: tuple[str, ...]) -> Iterator[None]:
    """Run the commands one after the other while the block runs; print at its end what they said."""
    place = environment(session, *DEVELOPMENT)
    around = {**os.environ, **surroundings(place)}

    def check(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        words = [str(program(place, command[0])), *command[1:]]
        return subprocess.run(
            words, cwd=ROOT, env=around, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    say(f"At the same time: {', '.join(' '.join(command) for command in commands)}")
    with ThreadPoolExecutor(1) as thread:
        checks = [thread.submit(check, command) for command in commands]
        try:
            yield
        finally:
            ended = [each.result() for each in checks]
            for done in ended:
                say(f"{'Failed' if done.returncode else 'Passed'}: {' '.join(done.args)}")
                print(done.stdout, flush=True)
    if any(done.returncode for done in ended):
        session.error("what ran at the same time failed; its words are above")


@nox.session
def house(session: nox.Session) -> None:
    """The rules of the house alone: layers, names, sizes, docstrings, the wheel."""
    run(session, "pytest", "tests/house", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Ten thousand seeds of every world; `--world limiter --seed 17` runs one again."""
    words = session.posargs or ["--seeds", "0:10000", "--jobs", "2"]
    run(session, "python", "-m", "sdpatterns.testing.simulation", *words)


@nox.session
def long(session: nox.Session) -> None:
    """What takes hours: the tests marked `long`, more examples for Hypothesis, then a million seeds of every world."""
    tools(session, *PODS)
    run(session, "pytest", "tests", "-m", "long", "-o", "faulthandler_timeout=0")
    run(session, "pytest", "tests", "-m", "hypothesis and not long", "--hypothesis-profile=long")
    words = session.posargs or ["--seeds", "0:1000000", "--jobs", "2"]
    run(session, "python", "-m", "sdpatterns.testing.simulation", *words)


@nox.session
def kubernetes(session: nox.Session) -> None:
    """The shop's chart in pods of podman: bought from, killed, drained, rolled, taken down. `--short` does less."""
    tools(session, *PODS)
    place = environment(session, *DEVELOPMENT)
    command = [str(program(place, "python")), "-m", "deploy.play", *session.posargs]
    path = os.pathsep.join((str(ROOT), str(ROOT / "examples")))
    sys.exit(become(command, {**os.environ, **surroundings(place), "PYTHONPATH": path}))  # Ctrl-C is for it alone


@nox.session
def load(session: nox.Session) -> None:
    """Load on a shop of its own, by a profile of `deploy/load/profiles.json`: `load --load spike`."""
    run(session, "python", "-m", "deploy.load", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The figures, ours beside the peers', interleaved in one run."""
    run(session, "python", "-m", "benchmarks", *session.posargs)


QUICK_BROWSER = "chromium-headless-shell"
"""Chromium without windows: a new page takes a fifth of the processor's time. Ubuntu does not have it."""

PODS = ("podman", "runc", "catatonit", "netavark", "aardvark-dns", "iptables")

TOOLS = {
    "chromium": (
        (QUICK_BROWSER, "chromium", "chromium-browser", "google-chrome"),
        "the browser's journeys through the shop",
    ),
    "etcd-server": (("etcd",), "the backend on etcd"),
    "prometheus": (("promtool",), "what Prometheus says of our metrics and rules"),
    "prometheus-alertmanager": (("amtool",), "what Alertmanager does with our alerts"),
    **{name: ((name, f"/usr/lib/podman/{name}"), "the shop in pods") for name in PODS},
}
"""Debian's packages that no wheel brings: the programs in each, one of which will do, and what needs it."""

FONTS = ("fonts-dejavu-core", "fonts-liberation")
"""What the pictures of pages are drawn with; Chromium's package only recommends some."""


def tools(session: nox.Session, *packages: str) -> None:
    """Programs that some tests need: CI gets them, a laptop is told."""
    wanted = {name: TOOLS[name] for name in packages}
    missing = {name: why for name, (programs, why) in wanted.items() if not any(map(shutil.which, programs))}
    if missing and os.environ.get("CI"):
        install(session, *missing, *(FONTS if "chromium" in missing else ()))
        return
    for name, why in missing.items():
        say(f"No {name} here: {why} will be left out (CI runs it).")


def browser(session: nox.Session) -> None:
    """What the shop's pages are looked at with: in CI the quick browser where there is a package of it."""
    if os.environ.get("CI") and not shutil.which(QUICK_BROWSER):
        try:
            install(session, QUICK_BROWSER, *FONTS)
        except nox.command.CommandFailed:
            say(f"No {QUICK_BROWSER} here: the tests take longer.")
    tools(session, "chromium")


def install(session: nox.Session, *packages: str) -> None:
    """Debian's packages, and nothing that they only recommend."""
    say(f"Installing {', '.join(packages)}")
    apt = ("apt-get",) if os.geteuid() == 0 else ("sudo", "apt-get")
    session.run(*apt, "update", "--quiet", external=True)
    words = ("-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--quiet", "--no-install-recommends")
    session.run(*apt, *words, *packages, external=True)
