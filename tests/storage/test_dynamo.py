"""DynamoDB holds the contract of `KeyValue`, and what is its own: the table, its index, expiry."""

import secrets
from pathlib import Path

import pytest

from storage.addresses import DynamoAddress
from storage.contract.dynamo_backend import DynamoBackend
from storage.contract.key_value_contract import KeyValueContract
from storage.dynamo_table import create_table


@pytest.fixture(scope="session")
def table(aws_endpoint: str) -> DynamoAddress:
    address = DynamoAddress(f"table-{secrets.token_hex(8)}", "us-east-1", aws_endpoint)
    create_table(address)
    return address


class TestContract(KeyValueContract):
    histories = 3
    _table: DynamoAddress

    @pytest.fixture(autouse=True)
    def _in_table(self, table: DynamoAddress) -> None:
        self._table = table

    def new_backend(self, folder: Path) -> DynamoBackend:  # noqa: ARG002
        return DynamoBackend.new(self._table)
