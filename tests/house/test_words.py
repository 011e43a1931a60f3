"""The tree speaks of the project alone, without a trace of a machine; pages speak plain English."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.house.source import ROOT, tracked_texts

# Hosts that a reader is meant to visit, or that a specification is cited from.
HOSTS = {
    "cloudevents.io",
    "datatracker.ietf.org",
    "docs.pydantic.dev",
    "doi.org",
    "dx.doi.org",
    "github.com",
    "json-schema.org",
    "keepachangelog.com",
    "sdpatterns.readthedocs.io",
    "semver.org",
    "token.actions.githubusercontent.com",  # who vouches for a workflow, in the command that verifies an image
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
        for what, pattern in MACHINE.items()
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert traces == []


# Words and turns that a non-native reader has to look up, and what to write.
STUMBLES = {
    "afresh": "again",
    "amiss": "wrong",
    "anew": "again",
    "at the door": "in front of an application, at the gateway",
    "bad days?": "what fails",
    "be it": "or",
    "but for": "except",
    "come what may": "always",
    "for ever": "without end",
    "hang(?:s|ing)? up on": "disconnect",
    "heed": "respect",
    "hitherto": "until now",
    "hold the line": "keep the connection open",
    "in vain": "without effect, for nothing",
    "knobs?": "setting",
    "knock(?:s|ed|ing)?": "connect, ask",
    "le(?:ts?|tting) go of": "close, give back",
    "lest": "so that ... not",
    "may well": "can",
    "nobody's": "what it is",
    "sick": "failing",
    "somebody(?:'s)?": "who it is: a caller, a client, another process",
    "so it is with": "a sentence of its own",
    "strangers?(?:'s)?": "an unknown client, another company",
    "thereby": "so",
    "therein": "two sentences",
    "thereof": "two sentences",
    "thinks? better of": "no longer wants",
    r"whose\b[^.:;]*\bwhose": "two sentences",
    "whereupon": "two sentences",
    "wherein": "two sentences",
    "whoever": "who it is: the caller that, callers that",
}
SOUGHT = [
    # With what stands in every form of it: to look for that first takes a fiftieth of the pattern's time.
    (max(re.split(r"\(\?:.*?\)\??|[a-z]\?|\\b.*?\\b", turn), key=len), re.compile(rf"(?i)\b{turn}\b"), instead)
    for turn, instead in STUMBLES.items()
]
# Say who it is, and give a reason with "because". Not yet rewritten: the SQL and Redis backends.
ROOM_STUMBLE = re.compile(
    r"(?i)\b(?:nobody|anybody|everybody|hence|for (?:it|they|he) (?:may|might|is|are|was|has|had|can))\b"
)
NOT_YET = ("src/sdpatterns/backends/", "tests/backends/")
MEASURED = "docs/benchmarks.md"  # has the names that the committed results have
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
TAGS = re.compile(r"\{[%{#].*?[#%}]\}|<[^>]*>", re.DOTALL)
SAMPLES = {"examples/shop/catalog/domain.py", "examples/shop/reviews/domain.py"}  # what products and customers say
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def prose_of(source: str, *, is_test: bool) -> str:
    """The comments and docstrings of Python source; of a test the names of its cases, else every string."""
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    texts: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED):
            texts.append(ast.get_docstring(node) or "")
        if is_test and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            texts.append(node.name.replace("_", " ") if node.name.startswith("test_") else "")
        elif not is_test and isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return CODE.sub("", "\n\n".join([*comments, *texts]))


def stumbles(text: str) -> Iterator[tuple[str, str]]:
    """The words of a text that have to be looked up, each with what to write."""
    lower = text.lower()
    for part, pattern, instead in SOUGHT:
        if part in lower:
            yield from ((match[0], instead) for match in pattern.finditer(text))


def read_by_people() -> Iterator[tuple[Path, str]]:
    """Pages, the texts of the shop, and the prose in Python: comments, docstrings, messages, names of cases."""
    for path, text in tracked_texts():
        place = path.relative_to(ROOT).as_posix()
        if place in SAMPLES or place == "tests/house/test_words.py" or not any(stumbles(text.replace("_", " "))):
            continue
        if path.suffix == ".py" and place.startswith(
            ("src/", "examples/", "tests/", "noxfile", "benchmarks/", "docs/")
        ):
            yield path, prose_of(text, is_test=place.startswith("tests/"))
        elif path.suffix == ".html":
            yield path, TAGS.sub(" ", text)
        elif path.suffix == ".md" or place.startswith("examples/shop/"):
            yield path, CODE.sub("", text)


def test_texts_have_no_word_that_has_to_be_looked_up() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {words!r}, write {instead!r}"
        for path, text in read_by_people()
        for words, instead in stumbles(text)
    ]
    assert found == []


def explained() -> Iterator[tuple[str, str]]:
    """Pages, and the comments, docstrings and names of cases in all Python files."""
    for path, text in tracked_texts():
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(NOT_YET) or place in {MEASURED, *SAMPLES, "tests/house/test_words.py"}:
            continue
        if not ROOM_STUMBLE.search(text.replace("_", " ")):
            continue
        if path.suffix == ".py":
            yield place, prose_of(text, is_test=True)
        elif path.suffix == ".md":
            yield place, CODE.sub("", text)


def test_texts_say_who_it_is_and_give_a_reason_with_because() -> None:
    found = [f"{place}: {match[0]!r}" for place, text in explained() for match in ROOM_STUMBLE.finditer(text)]
    assert found == []


def test_a_word_that_has_to_be_looked_up_is_found() -> None:
    for text in (
        "Whoever comes later",
        "it begins anew",
        "it lets go of it",
        "a stranger's key",
        "whose key and whose age",
    ):
        assert any(stumbles(text)), text
    assert not any(stumbles("a whole renewal, whose key is kept. Whose age"))
    assert ROOM_STUMBLE.search("its type alone, for it may be private")
    assert not ROOM_STUMBLE.search("ask for it, and wait for it")


def test_prose_of_python_is_comments_docstrings_names_of_cases_and_messages() -> None:
    source = 'def test_whoever_asks():\n    """It begins anew."""\n    sick = "stranger"  # somebody\n'
    asked = prose_of(source, is_test=True), prose_of(source, is_test=False)
    found = [{words.lower() for words, _ in stumbles(prose)} for prose in asked]
    assert found == [{"whoever", "anew", "somebody"}, {"anew", "stranger", "somebody"}]
