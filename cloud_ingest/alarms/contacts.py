"""The contacts of the cloud's alarms, read from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.secret_file import read_secret
from runtime.apprise_contact import AppriseContact, is_apprise_url
from vitals.absence import Language


class _ContactEntry(BaseModel):
    """A `[[contact]]` table; the fields are those of `AppriseContact`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=60)
    url_file: Path
    level: Annotated[int, Field(ge=0, le=2)] = 0
    language: Language = "fr"


class _ContactsFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    contact: tuple[_ContactEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_contacts(self) -> Self:
        names = [entry.name for entry in self.contact]
        if len(names) != len(set(names)):
            raise ValueError("two contacts have the same name")
        if min(entry.level for entry in self.contact) > 0:
            raise ValueError("no contact has level 0, so no one would be notified at once")
        return self


def load_contacts(path: Path | None) -> tuple[AppriseContact, ...]:
    """Return the contacts of a file of `[[contact]]` tables; none without a file.

    A relative `url_file` is looked up in the directory of the contacts file.

    Raises:
        InvalidSettings: the file cannot be read or is invalid, or a contact's URL is unusable.
    """
    if path is None:
        return ()
    try:
        content = _ContactsFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"ALARM_CONTACTS_FILE {path}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSettings(f"ALARM_CONTACTS_FILE {path}: {where} {first['msg']}") from None
    contacts = tuple(
        AppriseContact(entry.name, path.parent / entry.url_file, entry.level, entry.language)
        for entry in content.contact
    )
    for contact in contacts:
        _check_url(contact, f"ALARM_CONTACTS_FILE {path}: contact {contact.name!r}: url_file")
    return contacts


def _check_url(contact: AppriseContact, setting: str) -> None:
    """Report an unusable URL at the start, although it is read again for each message."""
    if not is_apprise_url(read_secret(contact.url_file, setting).strip()):
        raise InvalidSettings(f"{setting} {contact.url_file}: does not hold a URL that apprise knows")
