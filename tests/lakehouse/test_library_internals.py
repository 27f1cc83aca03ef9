"""Undocumented attributes of libraries that the lake uses; they may change with any release."""

from __future__ import annotations

import inspect
from importlib.metadata import version

from pyspark.sql import SparkSession


def test_spark_session_has_its_jvm() -> None:
    source = inspect.getsource(SparkSession.__init__)
    assert "self._jvm" in source, f"pyspark 4.2.0 had SparkSession()._jvm; {version('pyspark')} has not"
