"""What tests of several packages share: servers that are started once, when first asked for."""

import os
from collections.abc import Iterator

import pytest

from tests.ministack import CREDENTIALS, ministack

# Nobody's account: modal reads this when it is imported, and then has nothing to call with.
os.environ["MODAL_CONFIG_PATH"] = os.devnull
for _name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """The endpoint of DynamoDB and S3 on loopback, with credentials for it in the environment."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    try:
        with ministack() as endpoint:
            yield endpoint
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
