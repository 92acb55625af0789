"""The DynamoDB table: its layout, how it is made, and how it is checked when a store is opened."""

import time
from typing import Any

from botocore.exceptions import ClientError

from storage.addresses import DynamoAddress
from storage.dynamo_client import Failed, Pace, answered, code_of, open_client, reported
from storage.kv import Unavailable, Unsuitable

DUE_INDEX = "due"
TTL_ATTRIBUTE = "ttl_s"
KEYS = {"partition": "HASH", "sort": "RANGE"}
DUE_KEYS = {"due_queue_shard": "HASH", "due_at_ms": "RANGE"}
TYPES = {"partition": "S", "sort": "S", "due_queue_shard": "S", "due_at_ms": "N"}
READY = ("ACTIVE", "UPDATING")

MAX_ATTEMPTS = 5
PAUSE_S = 2
MAX_LOOKS = 90
"""How often, and how many times, to look whether what is being made is ready."""


def create_table(address: DynamoAddress) -> None:
    """Make the table with its index, expiry and backups, as far as they are not there.

    Raises `Unsuitable` if there is a table of another layout, and `Unavailable`.
    """
    client = open_client(address, max_attempts=MAX_ATTEMPTS)
    try:
        with reported():
            if _described(client, address.table) is None:
                _create(client, address.table)
            client.get_waiter("table_exists").wait(
                TableName=address.table,
                WaiterConfig={"Delay": PAUSE_S, "MaxAttempts": MAX_LOOKS},
            )
            check_table(client, address.table, pace=Pace())
            _turn_expiry_on(client, address.table)
            _turn_backups_on(client, address.table)
    finally:
        client.close()


def check_table(client: Any, table: str, *, pace: Pace) -> None:
    """Raise `Unsuitable` unless the table is there, ready and laid out as this release needs it."""
    try:
        found = answered(lambda: _described(client, table), pace=pace)
    except Failed as failure:
        raise Unavailable(str(failure)) from failure
    if found is None:
        raise Unsuitable(f"there is no table {table}: run `enlarger store init`")
    wrong = _differences(found)
    if wrong:
        raise Unsuitable(f"the table {table} is not as this release needs it: {'; '.join(wrong)}")


def _described(client: Any, table: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.describe_table(TableName=table)["Table"]
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return None
    return found


def _differences(found: dict[str, Any]) -> list[str]:
    """What is wrong with a table; nothing if it will do."""
    wrong = []
    if found["TableStatus"] not in READY:
        wrong.append(f"it is {found['TableStatus']}")
    wrong += _key_differences("its key", found["KeySchema"], KEYS, found)
    indexes = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes", [])}
    due = indexes.get(DUE_INDEX)
    if due is None:
        return [*wrong, f"it has no index {DUE_INDEX}"]
    wrong += _key_differences(
        f"the key of its index {DUE_INDEX}", due["KeySchema"], DUE_KEYS, found
    )
    if due.get("IndexStatus", "ACTIVE") not in READY:
        wrong.append(f"its index {DUE_INDEX} is {due['IndexStatus']}")
    return wrong


def _key_differences(
    what: str, schema: list[dict[str, str]], keys: dict[str, str], found: dict[str, Any]
) -> list[str]:
    types = {one["AttributeName"]: one["AttributeType"] for one in found["AttributeDefinitions"]}
    has = {one["AttributeName"]: one["KeyType"] for one in schema}
    told = [f"{name} ({types.get(name)}, {kind})" for name, kind in has.items()]
    needed = [f"{name} ({TYPES[name]}, {kind})" for name, kind in keys.items()]
    return [] if set(told) == set(needed) else [f"{what} is {told}, not {needed}"]


def _create(client: Any, table: str) -> None:
    try:
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": kind} for name, kind in TYPES.items()
            ],
            KeySchema=_schema(KEYS),
            GlobalSecondaryIndexes=[
                {
                    "IndexName": DUE_INDEX,
                    "KeySchema": _schema(DUE_KEYS),
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
    except ClientError as error:
        if code_of(error) != "ResourceInUseException":  # somebody else makes it just now
            raise


def _schema(keys: dict[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()]


def _turn_expiry_on(client: Any, table: str) -> None:
    described = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    if described["TimeToLiveStatus"] in ("ENABLED", "ENABLING"):
        if described["AttributeName"] != TTL_ATTRIBUTE:
            raise Unsuitable(
                f"the table {table} expires by {described['AttributeName']}, not {TTL_ATTRIBUTE}"
            )
        return
    client.update_time_to_live(
        TableName=table,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
    )


def _turn_backups_on(client: Any, table: str) -> None:
    """Have DynamoDB keep what a restore to any second of the last weeks needs."""
    for _ in range(MAX_LOOKS):
        try:
            client.update_continuous_backups(
                TableName=table,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
            return
        except ClientError as error:
            if code_of(error) == "UnknownOperationException":
                return  # what only plays DynamoDB may have no backups
            if code_of(error) != "ContinuousBackupsUnavailableException":
                raise
        time.sleep(PAUSE_S)  # a new table is not ready for it at once
    raise Unavailable(f"the table {table} does not become ready for backups")
