"""The comparison says what the committed answers say, and our own answers are the right ones."""

from __future__ import annotations

import json

import pytest

from benchmarks.claims.__main__ import FOUND, PAGE, QUESTIONS, Question, is_right, page

ANSWERS = json.loads(FOUND.read_text())


def test_the_page_is_what_was_found():
    assert PAGE.read_text() == page(ANSWERS), "run: python -m benchmarks.claims --page"


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_our_answer_is_right_and_a_peer_was_asked_too(question: Question):
    answers = dict(ANSWERS["answers"][question.name])
    assert is_right(question, answers.pop("sdpatterns"))
    assert answers


def test_a_wrong_answer_is_told_from_a_right_one():
    frames = next(question for question in QUESTIONS if question.name == "frames")
    assert is_right(frames, "5")
    assert not is_right(frames, "1182")
    assert not is_right(frames, "never refused")
