"""Who is told by the cloud: contacts from a TOML file, reached through apprise."""

from __future__ import annotations

import asyncio
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.secret_file import read_secret
from runtime.notification_queue import THREADS_PER_CONTACT
from vitals.conditions import Priority
from vitals.errors import NotNotified
from vitals.message import Message

if TYPE_CHECKING:
    from apprise import Apprise


class Contact(BaseModel):
    """Somebody who is told of alarms.

    Attributes:
        name: what happened when this contact was told is logged under it.
        url_file: holds an address of apprise, which is a secret; read anew for each message.
        level: told when nobody has answered for 0, 5 or 10 minutes: 0, 1, 2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=60)
    url_file: Path
    level: Annotated[int, Field(ge=0, le=2)] = 0
    language: Literal["fr", "en"] = "fr"

    async def tell(self, message: Message) -> None:
        """Send one message and wait until the service has taken it.

        Raises:
            NotNotified: it has not; the reason holds no address.
        """
        await asyncio.get_running_loop().run_in_executor(self.threads, self._send, message)

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """Threads of its own, as apprise's are shared: a service that hangs would take them all."""
        return ThreadPoolExecutor(THREADS_PER_CONTACT, thread_name_prefix=f"contact-{self.name}")

    def _send(self, message: Message) -> None:
        from apprise import NotifyType  # heavy: only where there are contacts

        kind = NotifyType.FAILURE if message.priority is Priority.HIGH else NotifyType.WARNING
        title, body = message.title(self.language), message.body[self.language]
        if not self._service().notify(body=body, title=title, notify_type=kind):
            raise NotNotified("the service did not take the message")

    def _service(self) -> Apprise:
        from apprise import Apprise, AppriseAsset

        try:
            url = self.url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotNotified(f"its address cannot be read: {type(error).__name__}") from error
        # apprise uses its shared threads for what it limits in time or sends side by side
        service = Apprise(asset=AppriseAsset(async_mode=False, service_timeout=0))
        if not service.add(url):
            raise NotNotified(f"{self.url_file} does not hold an address that apprise knows")
        return service


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    contact: tuple[Contact, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [contact.name for contact in self.contact]
        if len(names) != len(set(names)):
            raise ValueError("two contacts have the same name")
        if min(contact.level for contact in self.contact) > 0:
            raise ValueError("no contact has level 0, so nobody would be told at once")
        return self


def load_contacts(path: Path | None) -> tuple[Contact, ...]:
    """Contacts of a file of `[[contact]]` blocks; addresses' paths in it count from its directory.

    Raises:
        InvalidSettings: it cannot be read, says something impossible, or an address of it is of no use.
    """
    if path is None:
        return ()
    try:
        found = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"ALARM_CONTACTS_FILE {path}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSettings(f"ALARM_CONTACTS_FILE {path}: {where} {first['msg']}") from None
    home = path.parent
    contacts = tuple(each.model_copy(update={"url_file": home / each.url_file}) for each in found.contact)
    for each in contacts:
        _check_address(each, f"ALARM_CONTACTS_FILE {path}: contact {each.name!r}: url_file")
    return contacts


def _check_address(contact: Contact, about: str) -> None:
    """Find out now, not at the first alarm; it is read anew for each message all the same."""
    from apprise import Apprise

    if not Apprise().add(read_secret(contact.url_file, about).strip()):
        raise InvalidSettings(f"{about} {contact.url_file}: holds no address that apprise knows")
