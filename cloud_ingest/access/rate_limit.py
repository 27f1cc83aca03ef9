"""Rate limits by token bucket."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_CLIENTS = 10_000


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class RateLimit:
    """One bucket per client; it holds `burst` units and refills at `rate` units a second.

    A request is admitted while its client's bucket is above 0 and charged afterwards with its actual cost.
    The bucket can fall below 0; later requests then wait until it has refilled. Above 10,000 clients, the
    least recently seen one is dropped and starts again with a full bucket.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Return the seconds until the client's next request is admitted; 0 where that is now.

        Args:
            now: monotonic seconds.
        """
        level = self._bucket(client, now).level
        return 0.0 if level > 0 else (1 - level) / self._rate

    def charge(self, client: str, cost: float, now: float) -> None:
        """Remove `cost` units from the client's bucket."""
        self._bucket(client, now).level -= cost

    def take(self, client: str, now: float) -> bool:
        """Remove one whole unit if there is one; return whether there was."""
        bucket = self._bucket(client, now)
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True

    def _bucket(self, client: str, now: float) -> _Bucket:
        bucket = self._buckets.setdefault(client, _Bucket(self._burst, now))
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._rate)
        bucket.at = now
        self._buckets.move_to_end(client)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return bucket
