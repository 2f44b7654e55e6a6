"""How many connections pay off: a climb that goes on only while the measured rate rises. Pure.

The count doubles as long as that raises the rate, and goes up fourfold while the rate keeps pace
with it; when a step brings nothing, it is taken back and tried again later, each time after a
longer rest. So a server that limits each connection is met with many, and soon, and one that is
fast by itself, or limits its clients, with few.
"""

from dataclasses import dataclass

LEAST_GAIN = 1.15
"""What a doubling must bring: less than this is noise, or another's bandwidth."""
KEEPS_PACE = 0.85
"""What part of a step's proportion the rate must reach for the next step to be a larger one."""
STEP, LARGE_STEP = 2, 4
FAST_BYTES_PER_SECOND = 400e6
"""A connection that gives this is limited by a machine, not by a server's rule: more of them only
cost, since both ends have to work for them."""
FIRST_REST = 16
LONGEST_REST = 512
"""How many measurements to rest before the next try."""


@dataclass(slots=True)
class Climb:
    """The state of one climb.

    Attributes:
        level: How many connections are wanted now.
        highest: How many there may be.
    """

    highest: int
    level: int = 1
    _before: int = 0
    _rate_before: float = 0.0
    _factor: int = STEP
    _rest: int = 0
    _next_rest: int = FIRST_REST

    def measured(self, rate: float) -> None:
        """Take in the rate that the present level gave, and choose the next level.

        Args:
            rate: Bytes per second, over a time in which all connections were receiving.
        """
        if self._before:
            self._judge(rate)
        elif self._rest:
            self._rest -= 1
        elif self.level < self.highest and rate < FAST_BYTES_PER_SECOND * self.level:
            self._step(rate)

    def limit(self, highest: int) -> None:
        """Take in that the server wants no more connections than this."""
        self.highest = max(highest, 1)
        if self.level > self.highest:
            self.level, self._before = self.highest, 0

    def _judge(self, rate: float) -> None:
        if rate >= self._rate_before * LEAST_GAIN:
            keeps_pace = rate >= KEEPS_PACE * self._rate_before * self.level / self._before
            self._factor = LARGE_STEP if keeps_pace else STEP
            self._next_rest = FIRST_REST
            self._before = 0
            if self.level < self.highest:
                self._step(rate)
            return
        self.level, self._before, self._factor = self._before, 0, STEP
        self._rest = self._next_rest
        self._next_rest = min(2 * self._next_rest, LONGEST_REST)

    def _step(self, rate: float) -> None:
        self._before, self._rate_before = self.level, rate
        self.level = min(self._factor * self.level, self.highest)
