"""A part of a DynamoDB table as a store to hold to the contract; DynamoDB removes it by itself."""

import secrets
from collections.abc import Callable
from typing import NamedTuple

from storage.addresses import DynamoAddress
from storage.dynamo import DynamoKeyValue

SCRATCH_TTL_S = 24 * 60 * 60


class DynamoBackend(NamedTuple):
    """What a table has in a namespace, which is nobody else's."""

    address: DynamoAddress
    namespace: str

    @classmethod
    def new(cls, address: DynamoAddress) -> "DynamoBackend":
        """In that table, in a namespace of its own."""
        return cls(address, f"check-{secrets.token_hex(8)}")

    def open(self, *, clock: Callable[[], int]) -> DynamoKeyValue:
        return DynamoKeyValue(
            self.address, clock=clock, namespace=self.namespace, scratch_ttl_s=SCRATCH_TTL_S
        )

    def discard(self) -> None:
        """Leave it: every item says when DynamoDB may remove it."""
