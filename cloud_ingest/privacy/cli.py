"""The commands `kidjamo-ingest erase`, `rekey` and `pseudonym-key`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cloud_ingest.errors import DatabaseUnavailable, InvalidSettings
from cloud_ingest.settings import Settings

if TYPE_CHECKING:
    from psycopg2.extensions import connection

OK, FAILURE = 0, 1

_ERASE = (
    "erase patients whose erasure was requested (DELETE /patients/{id}) from PostgreSQL, and from no other"
    " store: rows first, the name last; exit with 1 if a row is left. Can be run again; run it from a timer"
)
_REKEY = (
    "after a new key version was added to PSEUDONYM_KEY_FILE and the API was restarted: move the rows of the"
    " listed patients in PostgreSQL to their new pseudonyms, in portions; old pseudonyms still resolve. Can"
    " be interrupted and run again"
)
_KEY = "create the secret key that turns patient identifiers into pseudonyms"
_MAKE = (
    "write a new key to PSEUDONYM_KEY_FILE, readable by its owner only, and print the path; an existing key"
    " is not replaced. Keep a copy: without it the same pseudonyms can never be computed again"
)


def add_commands(commands: Any) -> None:
    """Add the commands to the subcommands of a parser."""
    erase = commands.add_parser("erase", help=_ERASE, description=_ERASE)
    erase.add_argument(
        "--lift",
        metavar="REQUEST_ID",
        type=UUID,
        help="instead, lift this erasure request: new messages of the patient are recorded again",
    )
    erase.set_defaults(command=_erase)
    rekey = commands.add_parser("rekey", help=_REKEY, description=_REKEY)
    rekey.add_argument(
        "--patients",
        metavar="FILE",
        type=Path,
        required=True,
        help="file of clear patient identifiers, one per line; delete it afterwards",
    )
    rekey.set_defaults(command=_rekey)
    key = commands.add_parser("pseudonym-key", help=_KEY, description=_KEY)
    make = key.add_subparsers(required=True, metavar="action").add_parser(
        "make", help=_MAKE, description=_MAKE
    )
    make.set_defaults(command=_make_key)


def _erase(settings: Settings, chosen: argparse.Namespace) -> int:
    from cloud_ingest.privacy.erasure import erase_requested, lift

    with _database(settings) as database:
        if chosen.lift:
            lifted = lift(database, chosen.lift)
            print(f"{chosen.lift}: {'lifted' if lifted else 'no such open request'}")
            return OK if lifted else FAILURE
        erased = erase_requested(database)
    for each in erased:
        print(f"{each.request_id}: {sum(each.rows_erased.values())} rows erased from PostgreSQL, 0 left")
    print(f"{len(erased)} requests done")
    return OK


def _rekey(settings: Settings, chosen: argparse.Namespace) -> int:
    from cloud_ingest.privacy.key_rotation import rekey
    from cloud_ingest.privacy.pseudonyms import load_key

    patients = _lines(chosen.patients)
    keys = load_key(settings.key_file)
    with _database(settings) as database:
        moved = rekey(database, keys, patients)
    print(f"{moved.links} pseudonyms replaced, {moved.rows} rows moved")
    if moved.others:
        print(
            f"{moved.others} pseudonyms of older keys still have readings: their patients are not in the list"
        )
    return OK


def _make_key(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.privacy.pseudonyms import VARIABLE, make_key

    path = settings.key_file.absolute()
    if not make_key(path):
        raise InvalidSettings(f"{VARIABLE} {path}: exists already and was not changed")
    print(path)
    return OK


@contextmanager
def _database(settings: Settings) -> Iterator[connection]:
    """Open a connection.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer, or refuses.
    """
    import psycopg2

    from cloud_ingest.postgres.connection import connect

    try:
        database = connect(settings, "kidjamo-ingest keeping")
        try:
            yield database
        finally:
            database.close()
    except psycopg2.Error as error:
        raise DatabaseUnavailable(f"{settings.pg_database}: {error}") from error


def _lines(path: Path) -> list[str]:
    try:
        found = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path}: {error}") from None
    return [line for line in found if line]
