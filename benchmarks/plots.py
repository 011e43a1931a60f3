"""Plots as drawings for the pages: plain SVG whose colours are those of the page, light or dark.

The same figures give the same bytes, so that a test can compare a drawing with what is committed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from sdpatterns.testing.load import ScalabilityLaw

WIDTH = 740


def ratios(title: str, facts: Mapping[str, Any]) -> str:
    """A line for each case: its ratio as a dot on a scale of powers, and its quartiles as a bar."""
    cases = {name: (case["ratio"], *case["ratio_quartiles"]) for name, case in facts["cases"].items()}
    low = math.floor(math.log10(min(figures[1] for figures in cases.values())) - 0.02)
    high = math.ceil(math.log10(max(figures[2] for figures in cases.values())) + 0.02)
    left, right, top, step = 235, WIDTH - 80, 12, 24
    bottom = top + step * len(cases) + 4

    def x(ratio: float) -> float:
        return left + (math.log10(ratio) - low) / (high - low) * (right - left)

    body = []
    for power in range(low, high + 1):
        body.append(_line(x(10.0**power), top, x(10.0**power), bottom, "grid"))
        body.append(_text(x(10.0**power), bottom + 17, f"{10.0**power:g}x", "middle small"))
    body.append(_line(x(1), top, x(1), bottom, "one"))
    for number, (name, (middle, first, third)) in enumerate(cases.items()):
        y = top + step * (number + 0.5)
        kind = "ours" if name.startswith("sdpatterns") else "theirs"
        body.append(_text(left - 10, y + 4, name, f"end small {kind}"))
        body.append(_line(x(first), y, x(third), y, f"spread {kind}"))
        body.append(f'<circle class="dot {kind}" cx="{x(middle):.1f}" cy="{y:.1f}" r="4.5"/>')
        body.append(_text(WIDTH - 12, y + 4, f"{middle:.2f}x", f"end small {kind}"))
    label = f"{title}: time of each case as a multiple of {facts['against']}, median and quartiles"
    body.append(_text((left + right) / 2, bottom + 35, f"time, as a multiple of {facts['against']}", "middle small"))
    return _drawing(WIDTH, bottom + 44, label, body)


def admitted(facts: Mapping[str, Any]) -> str:
    """A row for each algorithm and a column for each scene: how many came (thin) and passed (thick)."""
    scenes, left, top, height, gap = facts["scenes"], 116, 44, 84, 34
    width = (WIDTH - left) / len(scenes) - gap
    body = []
    for column, scene in enumerate(scenes):
        x = left + column * (width + gap)
        body.append(_text(x + width / 2, 16, scene["name"], "middle small"))
        body.append(_text(x + width / 2, 32, f"{len(scene['arrivals_s'])} come", "middle small"))
        for row, name in enumerate(facts["algorithms"]):
            y = top + row * (height + 16)
            if column == 0:
                body.append(_text(left - 10, y + height / 2 + 4, name, "end small"))
            body += _scene(scene, scene["passed_s"][name], x, y, width, height)
        end_y = top + len(facts["algorithms"]) * (height + 16)
        begin_s, end_s = scene["shown_s"]
        body.append(_text(x, end_y, f"{begin_s:g}", "small"))
        body.append(_text(x + width, end_y, f"{end_s:g} s", "end small"))
    label = f"How many of the same requests each algorithm lets pass at {facts['count']} a second, scene by scene"
    return _drawing(WIDTH, top + len(facts["algorithms"]) * (height + 16) + 10, label, body)


def scaling(title: str, facts: Mapping[str, Any]) -> str:
    """A panel for each kind of request: what was measured as dots, the fitted law as a line, and no loss as dashes."""
    kinds, top, height, left = facts["laws"], 30, 190, 52
    width = (WIDTH - left * len(kinds)) / len(kinds) - 20
    body = []
    for column, kind in enumerate(kinds):
        points = {int(n): shop["kinds"][kind]["per_s"] for n, shop in facts["shops"].items()}
        x = left + column * (width + left + 20)
        body.append(_text(x + width / 2, 16, f"{kind} a second", "middle small"))
        body += _curve(points, ScalabilityLaw(**kinds[kind]), x, top, width, height)
    return _drawing(WIDTH, top + height + 44, title, body)


def _curve(
    points: Mapping[int, float], law: ScalabilityLaw, x: float, y: float, width: float, height: float
) -> Iterable[str]:
    last = max(points) + 1
    most = max(*points.values(), *(law.throughput(n) for n in range(1, last + 1)), law.one * 2) * 1.1

    def place(replicas: float, per_s: float) -> tuple[float, float]:
        return x + replicas / last * width, y + height - per_s / most * height

    yield f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}"/>'
    for replicas in range(1, last + 1):
        at, _ = place(replicas, 0)
        yield _line(at, y, at, y + height, "grid")
        yield _text(at, y + height + 16, str(replicas), "middle small")
    yield _text(x + width / 2, y + height + 34, "replicas of each service", "middle small")
    yield _line(*place(0, 0), *place(min(last, most / law.one), min(last, most / law.one) * law.one), "one")
    steps = [place(1 + number * (last - 1) / 40, law.throughput(1 + number * (last - 1) / 40)) for number in range(41)]
    path = "L".join(f"{at:.1f} {up:.1f}" for at, up in steps)
    yield f'<path class="passed" d="M{path}"/>'
    for replicas, per_s in points.items():
        at, up = place(replicas, per_s)
        yield f'<circle class="dot ours" cx="{at:.1f}" cy="{up:.1f}" r="4.5"/>'
        yield _text(at, up - 10, f"{per_s:,.1f}", "middle small ours")


def _scene(
    scene: Mapping[str, Any], passed_s: Sequence[float], x: float, y: float, width: float, height: float
) -> Iterable[str]:
    begin_s, end_s = scene["shown_s"]
    most = max(map(len, scene["passed_s"].values())) * 1.15

    def place(at_s: float, count: int) -> tuple[float, float]:
        return x + (at_s - begin_s) / (end_s - begin_s) * width, y + height - min(count / most, 1.0) * height

    yield f'<rect class="frame" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}"/>'
    for second in range(math.ceil(begin_s + 1e-9), math.ceil(end_s - 1e-9)):
        at, _ = place(second, 0)
        yield _line(at, y, at, y + height, "grid")
    yield _steps(scene["arrivals_s"], end_s, place, "line theirs")
    yield _steps(passed_s, end_s, place, "passed")
    at, up = place(end_s, len(passed_s))
    yield _text(at + 4, up + 4, str(len(passed_s)), "small ours")


def _steps(instants_s: Sequence[float], end_s: float, place: Any, kind: str) -> str:
    x, y = place(instants_s[0], 0)
    path = [f"M{x:.1f} {y:.1f}"]
    for number, at_s in enumerate(instants_s, 1):
        x, up = place(at_s, number)
        # Above the frame nothing rises any more, and a step to where the pen is says nothing.
        path += [f"H{x:.1f}V{up:.1f}"] if up != y else []
        y = up
    return f'<path class="{kind}" d="{"".join(path)}H{place(end_s, 0)[0]:.1f}"/>'


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _drawing(width: float, height: float, label: str, body: Iterable[str]) -> str:
    head = f'<svg viewBox="0 0 {width} {height:g}" role="img" aria-label={quoteattr(label)}'
    return "\n".join([f'{head} class="plot" xmlns="http://www.w3.org/2000/svg">', *body, "</svg>"]) + "\n"
