import hashlib
from pathlib import Path

import pytest

from cloud_ingest.auth import Tokens
from cloud_ingest.errors import InvalidSettings


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    hashed = hashlib.sha256(b"second-token").hexdigest()
    file = tmp_path / "tokens"
    file.write_text(f"# gateways\nfirst-token  # gw-001\nsha256:{hashed}\n\n")
    return Tokens.load(file)


@pytest.mark.parametrize("header", ["Bearer first-token", "bearer second-token", "Bearer  first-token "])
def test_allow_a_known_token(tokens: Tokens, header: str) -> None:
    assert tokens.allow(header)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer third", "Basic first-token", "first-token", "Bearer é"]
)
def test_allow_refuses_anything_else(tokens: Tokens, header: str | None) -> None:
    assert not tokens.allow(header)


def test_allow_refuses_the_hash_itself(tokens: Tokens) -> None:
    assert not tokens.allow("Bearer sha256:" + hashlib.sha256(b"second-token").hexdigest())


def test_load_without_a_file_leaves_the_door_open() -> None:
    assert Tokens.load(None).allow(None)


def test_load_refuses_a_file_without_tokens(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing yet\n")
    with pytest.raises(InvalidSettings, match="holds no token"):
        Tokens.load(tmp_path / "empty")
    with pytest.raises(InvalidSettings, match="API_TOKEN_FILE"):
        Tokens.load(tmp_path / "missing")


def test_tokens_never_show_themselves(tokens: Tokens) -> None:
    assert "digests" not in repr(tokens)
