"""Something that is due every so many seconds."""


class Interval:
    """Tells when an interval of training time is over.

    Args:
        seconds: its length; 0 or less is never over.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last = 0.0

    def restart(self, now: float) -> None:
        """Count from `now` on, in seconds."""
        self._last = now

    def due(self, now: float) -> bool:
        """Say whether the interval is over at `now`, and begin the next one if so."""
        if self.seconds <= 0 or now - self._last < self.seconds:
            return False
        self._last = now
        return True
