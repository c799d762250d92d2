"""Which window a message belongs to, and when a partition closes a window.

A partition closes its own windows: it knows how far it has been read. Its watermark is the largest time seen less
the allowed disorder, and never above the wall clock less the same, so that one message from a producer whose clock
says 2099 does not make all others late. When the watermark passes the end of a window, the window is sealed, behind
the message that brought it there.
"""

from __future__ import annotations

from dataclasses import dataclass

#: At most so many windows of one partition are open; the oldest is sealed first. Matters for windows by event time.
MAX_OPEN_WINDOWS = 64
#: The end of the year 9999: times beyond it have no date.
MAX_TIME = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How messages are gathered: all values in milliseconds."""

    size: int = 300_000
    disorder: int = 30_000
    by_event_time: bool = False

    def window(self, time: int) -> int:
        """Start of the window that holds this time; windows are aligned to 1970-01-01T00:00Z, as Beam's are."""
        return time - time % self.size

    def time(self, publish_time: int, event_time: int) -> int:
        """The time that decides: publish time, or the event time where the rule says so and the message has one.

        Event times that are no dates (0, or beyond the year 9999) count as none.
        """
        if self.by_event_time and 0 < event_time <= MAX_TIME:
            return event_time
        return min(max(publish_time, 0), MAX_TIME)


@dataclass(frozen=True, slots=True)
class WindowState:
    """What a partition knows of its windows; travels with the restriction, so that a replay seals alike."""

    high: int = 0
    """Largest time seen, capped by the wall clock when it was seen."""
    sealed: int = 0
    """Windows that end at or before this have been sealed."""
    open: tuple[int, ...] = ()
    """Starts of the windows with messages since they were last sealed."""

    def watermark(self, rule: WindowRule) -> int:
        """No message at or before this time is expected any more."""
        return max(self.high - rule.disorder, 0)


class WindowTracker:
    """Follows the windows of one partition, message by message."""

    def __init__(self, rule: WindowRule, state: WindowState) -> None:
        self._rule = rule
        self._high = state.high
        self._sealed = state.sealed
        self._open = set(state.open)
        self.late = 0
        """Messages whose window had been sealed before they came."""

    @property
    def state(self) -> WindowState:
        """As it stands now."""
        return WindowState(self._high, self._sealed, tuple(sorted(self._open)))

    def observe(self, time: int, now: int, count: int = 1) -> tuple[int, int | None]:
        """Take messages of this time in. Returns their window, and up to where to seal behind them (None: nothing).

        ``now`` is the wall clock, in milliseconds.
        """
        window = self._rule.window(time)
        self.late += count * (window + self._rule.size <= self._sealed)
        self._open.add(window)
        self._high = max(self._high, min(time, now))
        seal = self._due()
        if seal is None and len(self._open) > MAX_OPEN_WINDOWS:
            oldest = min(self._open - {window})
            self._open.discard(oldest)
            return window, oldest + self._rule.size
        return window, seal

    def idle(self, now: int) -> int | None:
        """All that there is has been read, at this time of the wall clock. Returns up to where to seal, if anything."""
        self._high = max(self._high, now)
        return self._due()

    def _due(self) -> int | None:
        reached = self._rule.window(max(self._high - self._rule.disorder, 0))
        if reached <= self._sealed:
            return None
        self._sealed = reached
        self._open = {window for window in self._open if window + self._rule.size > reached}
        return reached
