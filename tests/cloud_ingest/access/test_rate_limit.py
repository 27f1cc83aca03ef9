"""The bucket's level at written-out moments; time is handed in."""

from cloud_ingest.access.rate_limit import MAX_CLIENTS, Throttle


def test_wait_until_a_debt_is_paid() -> None:
    throttle = Throttle(rate=10, burst=50)
    assert throttle.wait("a", 0.0) == 0
    throttle.charge("a", 70, 0.0)  # one big body: 20 below zero
    assert throttle.wait("a", 0.0) == 2.1
    assert throttle.wait("a", 1.0) == 1.1
    assert throttle.wait("a", 2.1) == 0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    throttle = Throttle(rate=10, burst=50)
    assert throttle.wait("a", 0.0) == 0
    throttle.charge("a", 51, 1000.0)
    assert throttle.wait("a", 1000.0) > 0


def test_clients_do_not_share_a_bucket() -> None:
    throttle = Throttle(rate=1, burst=1)
    throttle.charge("a", 100, 0.0)
    assert throttle.wait("b", 0.0) == 0


def test_take_gives_whole_units_only() -> None:
    throttle = Throttle(rate=0.1, burst=2)
    assert [throttle.take("a", at) for at in (0, 0, 0, 9, 10, 10.1)] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]


def test_a_gateway_that_drains_its_backlog_is_never_throttled() -> None:
    """2,500 readings a second in batches of 500 readings of 420 bytes, at the default rate."""
    throttle = Throttle(rate=10_000, burst=50_000)
    waits = []
    for batch in range(3000):
        now = batch / 5
        waits.append(throttle.wait("gw", now))
        throttle.charge("gw", 1 + 500 * 420 / 512, now)
    assert set(waits) == {0.0}


def test_clients_are_forgotten_beyond_a_bound() -> None:
    throttle = Throttle(rate=1, burst=1)
    throttle.charge("first", 100, 0.0)
    for number in range(MAX_CLIENTS):
        throttle.charge(f"client-{number}", 1, 0.0)
    assert throttle.wait("first", 0.0) == 0
