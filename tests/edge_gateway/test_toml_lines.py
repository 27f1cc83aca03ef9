"""Lines of settings, in every syntax that TOML has for them."""

from __future__ import annotations

import pytest

from edge_gateway.toml_lines import line_of

TEXT = """\
# gateway_id = "commented out"
gateway_id = "gw"
note = '''
[api]
url = "inside a text"
'''

[api]
url = "http://127.0.0.1:8001"
headers = [
  "a",  # [mqtt]
  "b",
]
mqtt.port = 1883
"quoted key" = 1
inline = { first = 1, second = { third = 3 } }

[[bracelet]]
device_id = "a"

[[bracelet]]
patient_id = "p"
"device_id" = "b"

[ page ]  # a comment
port = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("gateway_id",), 2),
        (("note",), 3),
        (("api",), 8),
        (("api", "url"), 9),
        (("api", "headers"), 10),
        (("api", "headers", 1), 10),
        (("api", "mqtt", "port"), 14),
        (("api", "quoted key"), 15),
        (("api", "inline", "second", "third"), 16),
        (("bracelet", 0, "device_id"), 19),
        (("bracelet", 1), 21),
        (("bracelet", 1, "device_id"), 23),
        (("page",), 25),
        (("page", "port"), 26),
        (("page", "missing"), 25),
        (("bracelet", 0, "patient_id"), 18),
        (("bracelet", 7, "patient_id"), 18),
        (("missing",), None),
        ((), None),
    ],
)
def test_line_of_a_setting(path: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(TEXT, path) == line
    assert line_of(TEXT.replace("\n", "\r\n"), path) == line
