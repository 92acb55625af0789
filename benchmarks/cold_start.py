"""How long a web container takes from its first import to its first answer, over each store.

    python -m benchmarks.cold_start

Each start is a fresh process that imports `modal_app`, builds the web app as Modal's container does
(which checks that the stores can be used), and answers one request that reads the store. DynamoDB
and S3 are ministack's, PostgreSQL a real server, all on loopback: what a network adds is not in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import Row, print_table, write_results
from billing.keys import issue
from storage.addresses import store_address
from storage.opening import prepare_key_value
from tests.ministack import CREDENTIALS, ministack, new_bucket
from tests.postgres import postgres

STARTS = 7
ASKED_S = 1.0
REQUIRED_KEYS = {"ENLARGER_PUBLIC_URL": "http://127.0.0.1:8000"}

CHILD = """
import time
started = time.perf_counter()
import asyncio, json, sys
import modal_app
imported = time.perf_counter()
app = modal_app.web.local()
built = time.perf_counter()
scope = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
    "scheme": "http", "path": "/v2/me", "raw_path": b"/v2/me", "root_path": "",
    "query_string": b"", "headers": [(b"x-api-key", sys.argv[1].encode())],
    "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
}
said = []
async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}
async def send(message):
    said.append(message)
asyncio.run(app(scope, receive, send))
answered = time.perf_counter()
print(json.dumps({
    "status": said[0]["status"], "body": said[1]["body"].decode(),
    "import_s": imported - started, "build_s": built - imported, "answer_s": answered - built,
    "all_s": answered - started,
}))
"""


def main() -> None:
    """Measure, print beside what was asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/cold_start.json"))
    args = parser.parse_args()
    with ExitStack() as servers:
        folder = servers.enter_context(tempfile.TemporaryDirectory())
        endpoint = servers.enter_context(ministack())
        os.environ.update(CREDENTIALS)
        s3 = f"s3://{new_bucket(endpoint)}?endpoint={endpoint}"
        stores = {
            "SQLite and a folder": (f"sqlite://{folder}/a.sqlite", f"file://{folder}/objects"),
            "DynamoDB and S3": (f"dynamodb://cold?endpoint={endpoint}", s3),
            "PostgreSQL and S3": (servers.enter_context(postgres()), s3),
        }
        rows = [measured(name, *urls) for name, urls in stores.items()]
    print_table("From the first import to the first answer", rows)
    write_results(args.json, rows)


def measured(name: str, store_url: str, objects_url: str) -> Row:
    """The median of several starts over prepared stores."""
    prepare_key_value(store_address(store_url))
    settings = {"ENLARGER_STORE_URL": store_url, "ENLARGER_OBJECTS_URL": objects_url}
    starts = [start(settings | REQUIRED_KEYS) for _ in range(STARTS)]
    median = {part: statistics.median(one[part] for one in starts) for part in starts[0]}
    note = (
        f"median of {STARTS}, worst {max(one['all_s'] for one in starts):.2f}; import "
        f"{median['import_s']:.2f}, building {median['build_s']:.2f}, "
        f"answer {median['answer_s']:.2f}"
    )
    return Row(
        f"seconds to the first answer, {name}",
        ASKED_S,
        round(median["all_s"], 2),
        note=note,
        reached=median["all_s"] < ASKED_S,
    )


def start(settings: dict[str, str]) -> dict[str, float]:
    """One start in a fresh process; its seconds by part."""
    unknown_key = issue("acc_unknown", "cold", now_ms=0).apiframe_spelling
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, unknown_key],
        env=os.environ | settings | {"MODAL_CONFIG_PATH": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(ran.stdout.splitlines()[-1])
    status, body = said.pop("status"), said.pop("body")
    if status != 401 or "Invalid" not in body:
        raise RuntimeError(f"answered {status}: {body}")
    return dict(said)


if __name__ == "__main__":
    main()
