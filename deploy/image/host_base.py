"""A base image of this machine's own Python, where there is no registry: the files of some packages of Debian.

It has Python, the libraries that it needs, and nothing else: no shell, no package manager.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile

NAME = "localhost/debian-python:host"
LABEL = "sdpatterns.base=host"
"""On the base and so on all that is built on it: by it one finds images that have lost their name to a newer one."""
ROOTS = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "media-types", "tzdata", "netbase")
# What the packages above ask for and Python does not need at run time.
LEFT_OUT = re.compile(r"^(debconf|dpkg|perl|coreutils|dash|sed|tar|debianutils|install-info)")
NOT_NEEDED = re.compile(
    r"^/usr/share/(doc|man|locale|lintian|bug|info|doc-base|python3/debpython)(/|$)|/__pycache__/|^/usr/s?bin/py3"
)
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Folders of Debian that are links to those below /usr."""
_USERS = "root:x:0:0:root:/:/sbin/nologin\nshop:x:10001:10001:shop:/:/sbin/nologin\n"


def import_base(engine: str) -> str:
    """Make the image in a few seconds; gives its name."""
    with NamedTemporaryFile(suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            write(archive)
        file.flush()
        path = "PATH=/usr/local/bin:/usr/bin"
        subprocess.run(
            [engine, "import", "--quiet", "--change", f"ENV {path}", "--change", f"LABEL {LABEL}", file.name, NAME],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return NAME


def write(archive: tarfile.TarFile) -> None:
    """All files, in the same order and with the same times, whatever the machine."""
    for name, content in (("etc/passwd", _USERS), ("etc/group", "root:x:0:\nshop:x:10001:\n")):
        entry = _entry(name, tarfile.REGTYPE, 0o644)
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content.encode()))
    archive.addfile(_entry("tmp", tarfile.DIRTYPE, 0o1777))
    for name in MERGED:
        if Path("/", name).is_symlink():
            archive.addfile(_entry(name, tarfile.SYMTYPE, 0o777, f"usr/{name}"))
    for path in sorted(files(closure(ROOTS))):
        _add(archive, path)


def _entry(name: str, kind: bytes, mode: int, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, target
    return entry


def _add(archive: tarfile.TarFile, path: Path) -> None:
    name = str(path).lstrip("/")
    if path.is_symlink():
        archive.addfile(_entry(name, tarfile.SYMTYPE, 0o777, str(path.readlink())))
        return
    entry = _entry(name, tarfile.REGTYPE, 0o755 if path.stat().st_mode & 0o100 else 0o644)
    entry.size = path.stat().st_size
    with path.open("rb") as file:
        archive.addfile(entry, file)


def closure(roots: tuple[str, ...]) -> set[str]:
    """These packages and all that they depend on."""
    found: set[str] = set()
    wanted = list(roots)
    while wanted:
        package = wanted.pop()
        if package in found or LEFT_OUT.match(package):
            continue
        asked = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "${db:Status-Status}:${Depends},${Pre-Depends}", package],
            check=False,
            capture_output=True,
            text=True,
        )
        status, _, needs = asked.stdout.partition(":")
        if status == "installed":  # otherwise an alternative, or a name that another package provides
            found.add(package)
            wanted += [word for part in re.split(r"[,|]", needs) if (word := re.sub(r"[ (:].*", "", part.strip()))]
    return found


def files(packages: set[str]) -> Iterator[Path]:
    """The files of packages where they are below /usr, without what only people read."""
    listed = subprocess.run(["dpkg", "--listfiles", *sorted(packages)], check=True, capture_output=True, text=True)
    seen: set[Path] = set()
    for line in filter(lambda line: line.startswith("/"), listed.stdout.splitlines()):
        parts = PurePosixPath(line).parts
        path = Path("/usr", *parts[1:]) if parts[1:2] and parts[1] in MERGED else Path(line)
        if path not in seen and not NOT_NEEDED.search(str(path)) and (path.is_symlink() or path.is_file()):
            seen.add(path)
            yield path
