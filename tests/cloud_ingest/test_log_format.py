import logging

from pydantic import ValidationError

from cloud_ingest.log_format import LogFormat
from vitals.reading import Reading

DOCUMENT = {"patient_id": "patient-001-ss"}


def test_traceback_omits_exception_messages() -> None:
    record = logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, "in the application", None, None)
    try:
        try:
            Reading.model_validate(DOCUMENT)
        except ValidationError as error:
            raise RuntimeError(f"{DOCUMENT}: {error}") from error
    except RuntimeError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    text = LogFormat().format(record)
    assert "patient-001-ss" not in text
    assert "error: in the application" in text
    assert "ValidationError" in text
    assert text.endswith("RuntimeError")
    assert "test_log_format.py" in text
