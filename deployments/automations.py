"""The automations of `automations.yaml` on a Prefect server: notices to people, and runs that are lost given up.

A notification block is made of FLYWHEEL_NOTIFY_URL, which is a secret: Prefect keeps it encrypted and shows stars, and
nothing here prints it. What exists under its name is brought up to date, never doubled.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from deployments.environment import DeployError

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

BLOCK = "flywheel-notices"
PAGE = 100
PREFIX = "Flywheel: "  # of the names of our automations; one that is gone from the file is removed


@dataclass(frozen=True)
class Notified:
    """The notification block that notices go to (TYPE/NAME), or None for nobody."""

    block: str | None
    block_id: "UUID | None"


def apply_automations(client: "SyncPrefectClient", file: Path, given: Mapping[str, str] = os.environ) -> Notified:
    """Make the server's automations those of the file; who is notified.

    Raises:
        DeployError: the webhook's address is none, or the named block does not exist.
    """
    from prefect.events.schemas.automations import AutomationCore

    notified = notification_block(client, given)
    wanted = [
        AutomationCore.model_validate(made)
        for entry in yaml.safe_load(file.read_text(encoding="utf-8"))["automations"]
        if (made := as_automation(entry, notified.block_id)) is not None
    ]
    found = _ids_by_name(client)
    for each in wanted:
        ids = found.pop(each.name, [])
        if ids:
            client.update_automation(ids.pop(0), each)
        else:
            client.create_automation(each)
        _delete(client, ids)
    for name, ids in found.items():
        if name.startswith(PREFIX):
            _delete(client, ids)
    return notified


def _delete(client: "SyncPrefectClient", ids: "list[UUID]") -> None:
    for id_ in ids:
        client.delete_automation(id_)


def _ids_by_name(client: "SyncPrefectClient") -> "dict[str, list[UUID]]":
    """All automations of the server."""
    found: dict[str, list[UUID]] = {}
    offset = 0
    while page := client.read_automations(limit=PAGE, offset=offset):
        offset += len(page)
        for automation in page:
            found.setdefault(automation.name, []).append(automation.id)
    return found


def as_automation(entry: Mapping[str, Any], block_id: "UUID | None") -> dict[str, Any] | None:
    """An entry of the file as Prefect has it; None where it notifies and nobody is to be notified."""
    automation = {key: entry[key] for key in ("name", "description", "trigger")}
    if "notify" not in entry:
        return automation | {"actions": entry["actions"]}
    if block_id is None:
        return None
    action = {"type": "send-notification", "block_document_id": str(block_id)} | entry["notify"]
    return automation | {"actions": [action]}


def notification_block(client: "SyncPrefectClient", given: Mapping[str, str]) -> Notified:
    """The block that FLYWHEEL_NOTIFY_BLOCK names, or one for the webhook in FLYWHEEL_NOTIFY_URL.

    Raises:
        DeployError: there is no such block, or the address is not one of http or https.
    """
    if named := given.get("FLYWHEEL_NOTIFY_BLOCK"):
        return Notified(named, _find(client, named))
    url = given.get("FLYWHEEL_NOTIFY_URL")
    if not url:
        return Notified(None, None)
    if not url.startswith(("https://", "http://")):
        raise DeployError(
            "FLYWHEEL_NOTIFY_URL has to begin with https:// or http://; for mail, PagerDuty and others make a block in "
            "Prefect and name it in FLYWHEEL_NOTIFY_BLOCK"
        )
    return Notified(f"custom-webhook/{BLOCK}", _save_webhook(client, url))


def _find(client: "SyncPrefectClient", named: str) -> "UUID":
    from prefect.exceptions import ObjectNotFound

    slug, _, name = named.partition("/")
    try:
        return client.read_block_document_by_name(name, slug).id
    except ObjectNotFound:
        raise DeployError(f"FLYWHEEL_NOTIFY_BLOCK: there is no block {named}; `prefect block ls` lists them") from None


def _save_webhook(client: "SyncPrefectClient", url: str) -> "UUID":
    """A block that posts {"text": ...}, the address among its secrets."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.types import SecretDict

    block = CustomWebhookNotificationBlock(
        name=BLOCK,
        url="{{address}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        secrets=SecretDict({"address": url}),
    )
    return cast("UUID", block.save(BLOCK, overwrite=True))
