"""Download of the jars of Kafka and Spark before the first start, with progress messages."""

from __future__ import annotations

import sys

from deploy.local import kafka
from deploy.local.process import ServiceError
from lakehouse.errors import UnsuitableMachine
from lakehouse.session import fetch_jars, jars_are_fetched


def main() -> int:
    """Fetch missing jars; return 0 on success, 1 on failure."""
    try:
        if not kafka.is_fetched():
            print("• fetching the Kafka broker from Maven Central", file=sys.stderr)
            kafka.jars()
        if not jars_are_fetched():
            print("• fetching Delta Lake and the Kafka connector for Spark", file=sys.stderr)
            fetch_jars()
    except (ServiceError, UnsuitableMachine) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
