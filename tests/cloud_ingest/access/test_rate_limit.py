"""The level of the bucket at given times."""

from cloud_ingest.access.rate_limit import MAX_CLIENTS, RateLimit


def test_wait_until_the_bucket_has_refilled() -> None:
    limit = RateLimit(rate=10, burst=50)
    assert limit.wait("a", 0.0) == 0
    limit.charge("a", 70, 0.0)  # one large body: 20 below 0
    assert limit.wait("a", 0.0) == 2.1
    assert limit.wait("a", 1.0) == 1.1
    assert limit.wait("a", 2.1) == 0


def test_bucket_holds_at_most_the_burst() -> None:
    limit = RateLimit(rate=10, burst=50)
    assert limit.wait("a", 0.0) == 0
    limit.charge("a", 51, 1000.0)
    assert limit.wait("a", 1000.0) > 0


def test_clients_do_not_share_a_bucket() -> None:
    limit = RateLimit(rate=1, burst=1)
    limit.charge("a", 100, 0.0)
    assert limit.wait("b", 0.0) == 0


def test_take_needs_a_whole_unit() -> None:
    limit = RateLimit(rate=0.1, burst=2)
    assert [limit.take("a", at) for at in (0, 0, 0, 9, 10, 10.1)] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]


def test_gateway_that_sends_its_backlog_never_waits() -> None:
    """2,500 readings a second in batches of 500 readings of 420 bytes, at the default rate."""
    limit = RateLimit(rate=10_000, burst=50_000)
    waits = []
    for batch in range(3000):
        now = batch / 5
        waits.append(limit.wait("gw", now))
        limit.charge("gw", 1 + 500 * 420 / 512, now)
    assert set(waits) == {0.0}


def test_least_recent_client_is_dropped_above_the_maximum() -> None:
    limit = RateLimit(rate=1, burst=1)
    limit.charge("first", 100, 0.0)
    for number in range(MAX_CLIENTS):
        limit.charge(f"client-{number}", 1, 0.0)
    assert limit.wait("first", 0.0) == 0
