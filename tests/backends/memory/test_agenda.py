"""The agenda of a queue in memory against a sorted list."""

from __future__ import annotations

import random

import pytest

from sdpatterns.backends.memory.messages.agenda import Agenda
from sdpatterns.backends.memory.messages.kept import KeptMessage
from sdpatterns.ports.queue import Message


class Sorted:
    """What an agenda is, as plainly as can be: (instant, message), and two agendas to move between."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.agendas = Agenda(), Agenda()
        self.inside: tuple[list[KeptMessage], list[KeptMessage]] = ([], [])
        self.free = [KeptMessage(Message(id=f"{number}", payload=b""), number, 0) for number in range(900)]
        self.now_us = 0

    def add(self, which: int) -> None:
        if self.free:
            kept = self.free.pop()
            # Half of them in order, half before or behind it.
            self.now_us += self.chance.randrange(3)
            at_us = self.now_us + self.chance.choice([0, 0, self.chance.randint(-50, 50)])
            self.agendas[which].add(at_us, kept)
            self.inside[which].append(kept)

    def take(self, which: int) -> None:
        if self.inside[which]:
            kept = self.agendas[which].take()
            assert kept in self.inside[which]
            assert kept.at_us == min(each.at_us for each in self.inside[which])
            self.inside[which].remove(kept)
            self.free.append(kept)

    def remove(self, which: int) -> None:
        if self.inside[which]:
            kept = self.inside[which].pop(self.chance.randrange(len(self.inside[which])))
            kept.turn += 1
            kept.agenda = None
            self.agendas[which].removed()
            self.free.append(kept)

    def are_right(self) -> None:
        for agenda, inside in zip(self.agendas, self.inside, strict=True):
            assert agenda.live == len(inside)
            assert len(agenda._line) + len(agenda._heap) <= 2 * agenda.live + 65
            assert agenda.first_us() == min((kept.at_us for kept in inside), default=None)


@pytest.mark.parametrize("seed", range(4))
def test_an_agenda_is_a_sorted_list(seed: int) -> None:
    chance = random.Random(seed)
    both = Sorted(chance)
    for phase in range(6):
        # Growing, then shrinking from the middle, so that shells gather.
        acts = [both.add] if phase % 2 == 0 else [both.remove] * 8 + [both.add, both.take]
        for step in range(800):
            chance.choice(acts)(chance.randrange(2))
            if step % 10 == 0:
                both.are_right()
