"""Token buckets: how much each client may do."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MAX_CLIENTS = 10_000


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Throttle:
    """One bucket a client: it holds `burst` units and refills at `rate` units a second.

    A request is let in while its client's bucket holds anything, and is charged afterwards with what it
    turned out to cost: a bucket can fall below zero, and the next request then waits until it has recovered.
    Of more than 10,000 clients, the one heard of least recently starts anew.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds until the client may do something; 0 where it may now.

        Args:
            now: monotonic seconds.
        """
        level = self._bucket(client, now).level
        return 0.0 if level > 0 else (1 - level) / self._rate

    def charge(self, client: str, cost: float, now: float) -> None:
        """Take what was used."""
        self._bucket(client, now).level -= cost

    def take(self, client: str, now: float) -> bool:
        """Take one whole unit, if there is one."""
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
