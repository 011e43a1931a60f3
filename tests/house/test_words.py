"""The tree speaks of the project alone, without a trace of a machine; pages speak plain English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.source import ROOT, tracked_texts

# Hosts that a reader is meant to visit, or that a specification is cited from.
HOSTS = {
    "datatracker.ietf.org",
    "docs.pydantic.dev",
    "doi.org",
    "dx.doi.org",
    "github.com",
    "keepachangelog.com",
    "sdpatterns.readthedocs.io",
    "semver.org",
    "www.apache.org",
    "www.iana.org",
    "www.rfc-editor.org",
    "www.w3.org",
}
# Names kept for examples, and names without a dot, which lead nowhere outside.
RESERVED = re.compile(r"^[^.]+$|(^|\.)(example|test|invalid|localhost|example\.(com|org|net))$")
URL = re.compile(r"\b(?:https?|wss?)://(?:[^\s/@\"'`<>]*@)?([A-Za-z0-9.-]*[A-Za-z0-9])")
LOOPBACK = re.compile(r"^(127\.\d+\.\d+\.\d+|0\.0\.0\.0|localhost)$")

MACHINE = {
    "somebody's home": re.compile(r"(?<![\w.])/(?:root|home/[a-z]\w*|Users/\w+)/"),
    "a desk": re.compile(r"(?<![\w.])/(?:work|opt)/[a-z]"),
    "a temporary file of one run": re.compile(r"(?<![\w.])/tmp/[a-z]"),
    "a package index": re.compile(r"--(?:extra-)?index-url|--find-links|PIP_INDEX|\bpypi\.org|\bpythonhosted\b"),
    "a trailer of a tool": re.compile(r"(?i)co-authored-by:|generated (?:with|by) \["),
}


def test_every_host_is_reserved_loopback_or_meant() -> None:
    strangers = [
        f"{path.relative_to(ROOT)}: {host}"
        for path, text in tracked_texts()
        for host in URL.findall(text)
        if host not in HOSTS and not RESERVED.search(host) and not LOOPBACK.match(host)
    ]
    assert strangers == []


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    traces = [
        f"{path.relative_to(ROOT)}:{number}: {what}"
        for path, text in tracked_texts()
        if path.name != "test_words.py"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in MACHINE.items()
        if pattern.search(line)
    ]
    assert traces == []


# Words that a reader whose first language is another one stumbles over, and what to write.
STUMBLES = {
    "anew": "again",
    "bad day": "what fails",
    "but for": "except",
    "for ever": "without end",
    "heed": "respect",
    "knob": "setting",
    "nobody's": "what it is",
    "sick": "failing",
    "somebody": "who it is: a caller, a client, another process",
    "somebody else": "another process, another company",
    "whoever": "who it is: the caller that, callers that",
}
STUMBLE = re.compile(rf"(?i)\b(?:{'|'.join(STUMBLES)})(?:s|'s)?\b")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def pages() -> Iterator[tuple[Path, str]]:
    """What users read: README, changelog, the site's pages and the pages of the shop."""
    for path, text in tracked_texts():
        place = path.relative_to(ROOT).as_posix()
        if place in {"README.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md"} or (
            place.startswith("docs/") and path.suffix == ".md"
        ):
            yield path, CODE.sub("", text)
        elif place.startswith("examples/shop/gateway/templates/"):
            yield path, re.sub(r"\{[%{#].*?[#%}]\}|<[^>]*>", " ", text, flags=re.DOTALL)


def test_pages_have_no_word_that_has_to_be_looked_up() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}, write {STUMBLES.get(match[0].lower(), 'another word')!r}"
        for path, text in pages()
        for match in STUMBLE.finditer(text)
    ]
    assert found == []


def test_a_word_that_has_to_be_looked_up_is_found() -> None:
    assert STUMBLE.search("Whoever comes later")
    assert STUMBLE.search("it begins anew")
    assert not STUMBLE.search("a whole renewal")
