"""DynamoDB and S3 as ministack plays them, on loopback, from a virtual environment of its own.

ministack pins other releases of what boto3 needs, so it lives beside ours; `make test` installs it.
"""

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import httpx2

from tests.serving import eventually

COMMAND = Path(__file__).parent.parent / ".venv-ministack" / "bin" / "ministack"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}

_CLIENT = {
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "region_name": "us-east-1",
}


@contextmanager
def ministack() -> Iterator[str]:
    """A fresh server while the block runs; its endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": f"{port}", "LOG_LEVEL": "ERROR"}
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        process = subprocess.Popen(
            [COMMAND],
            cwd=folder,
            env=os.environ | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            eventually(lambda: _answers(endpoint), what="an answer of ministack")
            yield endpoint
        finally:
            process.kill()
            process.wait()


def new_bucket(endpoint: str) -> str:
    """The name of a new bucket there."""
    name = f"bucket-{secrets.token_hex(8)}"
    client = boto3.client("s3", endpoint_url=endpoint, **_CLIENT)
    client.create_bucket(Bucket=name)
    client.close()
    return name


def _answers(endpoint: str) -> bool:
    try:
        return httpx2.get(f"{endpoint}/_ministack/health").status_code == 200
    except httpx2.TransportError:
        return False
