"""`store init` and `store check`: on each kind of store, and with everything that can be wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest

from storage.postgres_schema import SCHEMA, drop_items
from tests.ministack import CREDENTIALS, new_bucket
from tests.postgres import free_port
from tests.serving import enlarger

QUICK = "back_after_a_delete or one_wins or stores_once"
"""A few cases of both contracts, of those that a store may well get wrong."""


@pytest.fixture
def on_aws(aws_endpoint: str) -> dict[str, str]:
    """The settings of a service on a fresh table's name and a fresh bucket."""
    bucket = new_bucket(aws_endpoint)
    return {
        "ENLARGER_STORE_URL": f"dynamodb://table-of-{bucket}?endpoint={aws_endpoint}",
        "ENLARGER_OBJECTS_URL": f"s3://{bucket}/some/prefix?endpoint={aws_endpoint}",
    }


@pytest.fixture
def on_postgres(postgres_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a service on a database that is still empty."""
    yield {"ENLARGER_STORE_URL": postgres_url, "ENLARGER_DATA": str(tmp_path)}
    drop_items(postgres_url, schema=SCHEMA)


def refused(*words: str, env: dict[str, str]) -> str:
    """What a command says that must end with exit 2 and one line."""
    ran = enlarger(*words, env=env)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.count("\n") == 1
    return str(ran.stderr)


def test_a_folder_needs_nothing_and_may_be_prepared_twice(tmp_path: Path) -> None:
    env = {"ENLARGER_DATA": str(tmp_path / "data")}
    for _ in range(2):
        ran = enlarger("store", "init", env=env)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines() == [
            f"the key-value store is ready: {tmp_path}/data/enlarger.sqlite",
            f"the object store is ready: {tmp_path}/data/objects",
        ]
    assert enlarger("store", "check", "--only", QUICK, env=env).returncode == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "enlarger.sqlite",
        "objects",
    ]


def test_a_table_and_a_bucket_are_prepared_checked_and_used(on_aws: dict[str, str]) -> None:
    for _ in range(2):
        ran = enlarger("store", "init", env=on_aws)
        assert ran.returncode == 0, ran.stderr
        assert "the key-value store is ready: the DynamoDB table table-of-bucket" in ran.stdout
        assert "the object store is ready: the bucket bucket-" in ran.stdout
    checked = enlarger("store", "check", "--only", QUICK, env=on_aws)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.endswith("both stores hold to their contracts\n")
    assert enlarger("accounts", "create", "Ada", env=on_aws).returncode == 0
    assert enlarger("ledger", "verify", env=on_aws).stdout == "the ledger verifies\n"


def test_a_database_is_prepared_checked_and_used(on_postgres: dict[str, str]) -> None:
    for _ in range(2):
        ran = enlarger("store", "init", env=on_postgres)
        assert ran.returncode == 0, ran.stderr
        assert "the schema enlarger in PostgreSQL" in ran.stdout
    assert enlarger("store", "check", "--only", QUICK, env=on_postgres).returncode == 0
    assert enlarger("accounts", "create", "Ada", env=on_postgres).returncode == 0


@contextmanager
def without_conditions(endpoint: str) -> Iterator[str]:
    """A store that is compatible but for one thing: it does not know `If-None-Match`."""
    upstream = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "if-none-match"}
            connection = HTTPConnection(upstream)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_that_breaks_a_promise_is_found_out(
    on_aws: dict[str, str], aws_endpoint: str
) -> None:
    assert enlarger("store", "init", env=on_aws).returncode == 0
    with without_conditions(aws_endpoint) as endpoint:
        objects_url = on_aws["ENLARGER_OBJECTS_URL"].replace(aws_endpoint, endpoint)
        env = on_aws | {"ENLARGER_OBJECTS_URL": objects_url}
        checked = enlarger("store", "check", "--only", "stores_once", env=env)
    assert checked.returncode == 1
    assert "test_put_if_absent_stores_once" in checked.stdout


@pytest.mark.parametrize("words", [("store", "check"), ("accounts", "list"), ("serve",)])
def test_a_table_that_was_not_made_is_told_with_what_makes_it(
    on_aws: dict[str, str], words: tuple[str, ...]
) -> None:
    said = refused(*words, env=on_aws)
    assert said.startswith("enlarger: ENLARGER_STORE_URL: there is no table")
    assert "enlarger store init" in said


def test_a_database_without_its_schema_is_told_with_what_makes_it(
    on_postgres: dict[str, str],
) -> None:
    said = refused("accounts", "list", env=on_postgres)
    assert said.startswith("enlarger: ENLARGER_STORE_URL: there is no table enlarger.items")


def test_a_table_of_another_layout_is_refused(on_aws: dict[str, str], aws_endpoint: str) -> None:
    table = urlsplit(on_aws["ENLARGER_STORE_URL"]).netloc
    client = boto3.client("dynamodb", endpoint_url=aws_endpoint)
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    client.close()
    for words in (("store", "init"), ("accounts", "list")):
        assert f"ENLARGER_STORE_URL: the table {table}" in refused(*words, env=on_aws)


def test_a_schema_of_another_layout_is_refused(on_postgres: dict[str, str]) -> None:
    url = on_postgres["ENLARGER_STORE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA enlarger")
        connection.execute("CREATE TABLE enlarger.items (id INTEGER)")
    for words in (("store", "init"), ("accounts", "list")):
        assert "ENLARGER_STORE_URL: the table enlarger.items" in refused(*words, env=on_postgres)


def test_a_bucket_that_is_not_there_is_told(on_aws: dict[str, str], aws_endpoint: str) -> None:
    assert enlarger("store", "init", env=on_aws).returncode == 0
    env = on_aws | {"ENLARGER_OBJECTS_URL": f"s3://nowhere-at-all?endpoint={aws_endpoint}"}
    assert "ENLARGER_OBJECTS_URL: " in refused("store", "check", env=env)
    assert "nowhere-at-all" in refused("serve", "--port", "1", env=env)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORE_URL", "mysql://h/db"),
        ("STORE_URL", "dynamodb://"),
        ("STORE_URL", "postgresql://ada:%zz-secret@h/db"),
        ("OBJECTS_URL", "s3://"),
        ("OBJECTS_URL", "ftp://h/files"),
    ],
)
def test_an_address_that_is_none_is_told_by_its_setting(
    tmp_path: Path, name: str, value: str
) -> None:
    env = {"ENLARGER_DATA": str(tmp_path), f"ENLARGER_{name}": value}
    said = refused("store", "init", env=env) if "OBJECTS" not in name else _objects(env)
    assert f"ENLARGER_{name}: " in said
    assert "secret" not in said


def _objects(env: dict[str, str]) -> str:
    return refused("accounts", "list", env=env)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_credentials_are_told_by_their_names(on_aws: dict[str, str], name: str) -> None:
    env = on_aws | dict.fromkeys(CREDENTIALS, "") | {"AWS_EC2_METADATA_DISABLED": "true"}
    env |= {"AWS_DEFAULT_REGION": "us-east-1", "HOME": "/nowhere"}
    said = refused("store", "init", env=env)
    assert "ENLARGER_STORE_URL" in said
    assert name in said


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("STORE_URL", "dynamodb://table?region=us-east-1&endpoint=http://127.0.0.1:{port}"),
        ("STORE_URL", "postgresql://ada:secret@127.0.0.1:{port}/db"),
        ("OBJECTS_URL", "s3://bucket?endpoint=http://127.0.0.1:{port}"),
    ],
)
def test_a_server_that_is_not_there_is_told_by_its_setting(
    tmp_path: Path, name: str, url: str
) -> None:
    env = CREDENTIALS | {"ENLARGER_DATA": str(tmp_path)}
    env[f"ENLARGER_{name}"] = url.format(port=free_port())
    ran = enlarger("store", "init", env=env)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"enlarger: ENLARGER_{name}: ")
    assert ran.stderr.count("\n") == 1
    assert "secret" not in ran.stderr


def test_inside_a_container_of_modals_a_file_is_refused(tmp_path: Path) -> None:
    env = {"ENLARGER_DATA": str(tmp_path), "MODAL_IS_REMOTE": "1"}
    assert "ENLARGER_STORE_URL: containers share no disk" in refused("serve", env=env)
