"""The rendered future: where it ends, and the instrument's states that it can be continued from, or changed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from specdiffd.base.instrument import Instrument


@dataclass
class Forecast:
    """What stands in the timeline from the last wake-up on.

    Attributes:
        states: the instrument's, in ascending order, each at the end of a stretch that was rendered.
        solid_until: the timeline sample where the end fade begins.
    """

    states: list[Any] = field(default_factory=list)
    solid_until: int = 0

    def go_back(self, instrument: Instrument[Any], first_frame: int) -> Any | None:
        """The state that rendering continues from ``first_frame`` on.

        It is the shortest state that has all frames before ``first_frame``, rewound to it, or else the longest there is. Later states
        are dropped, so that nobody holds what they need. None: there is no state that goes so far back, or none at all.
        """
        for k, state in enumerate(self.states):
            if state.origin <= first_frame <= state.next_frame:
                cached = instrument.with_caches(state, self.states[-1])
                del self.states[k:]
                return instrument.rewind(cached, first_frame)
        if self.states and self.states[-1].next_frame < first_frame:
            return self.states[-1]
        self.states.clear()
        return None

    def put_back(self, state: Any) -> None:
        """``state``, from ``go_back``, was not continued."""
        self.states.append(state)

    def go_on(self, instrument: Instrument[Any], state: Any) -> None:
        """``state`` is the end of what was rendered last."""
        if self.states:
            self.states[-1] = instrument.without_caches(self.states[-1])
        self.states.append(state)

    def forget(self, heard_frame: int) -> None:
        """Drop states that end before ``heard_frame``, the first that is not heard yet: no revision goes back so far. The last one stays."""
        while len(self.states) > 1 and self.states[0].next_frame < heard_frame:
            self.states.pop(0)
