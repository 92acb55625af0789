"""S3 holds the contract of `Objects`, and what is its own: links, parts, rules, clear errors."""

from pathlib import Path

import pytest

from storage.addresses import S3Address
from storage.contract.objects_contract import ObjectsContract
from storage.contract.s3_backend import S3Backend
from tests.ministack import new_bucket


@pytest.fixture(scope="module")
def address(aws_endpoint: str) -> S3Address:
    """A part of a new bucket."""
    return S3Address(new_bucket(aws_endpoint), "some/prefix", endpoint=aws_endpoint)


class TestContract(ObjectsContract):
    @pytest.fixture(autouse=True)
    def _address(self, address: S3Address) -> None:
        self.address = address

    def new_backend(self, folder: Path) -> S3Backend:  # noqa: ARG002
        return S3Backend.new(self.address)
