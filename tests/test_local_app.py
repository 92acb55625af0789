"""One machine: who is hinted at, and a sandbox that works where nothing else does."""

import json
import threading
from pathlib import Path
from uuid import UUID

import httpx2

from jobs.job import SANDBOX
from jobs.sandbox import HOST
from local_app import LocalDispatcher
from tests.serving import Server, eventually

PATIENCE_S = 10.0
LIVE, REHEARSED = UUID(int=1), UUID(int=2)


def test_a_sandbox_job_does_not_wait_behind_live_ones_nor_they_behind_it() -> None:
    dispatcher, is_done, done = LocalDispatcher(), threading.Barrier(3), list[UUID]()

    def work(job_id: UUID) -> None:
        done.append(job_id)
        is_done.wait(PATIENCE_S)  # both are under way at once, by one thread each

    dispatcher.work_with(work, threads=1)
    dispatcher.work_in_sandbox_with(work, threads=1)
    dispatcher.job(LIVE, model="topaz-image-upscale")
    dispatcher.job(REHEARSED, model=SANDBOX)
    is_done.wait(PATIENCE_S)
    dispatcher.stop()
    assert set(done) == {LIVE, REHEARSED}


def test_without_workers_the_sandbox_works_all_the_same(tmp_path: Path) -> None:
    with Server(tmp_path, workers="0").running() as server:
        opened = json.loads(server.command("accounts", "create", "Ada").stdout)
        words = ("keys", "create", "--sandbox", "--account", opened["account"]["id"])
        made = json.loads(server.command(*words).stdout)
        headers = {"X-API-Key": made["apiframe"]}
        params = {"image": f"https://{HOST}/success.png"}
        body = {"model": "topaz-image-upscale", "topazUpscaleParams": params}
        answer = httpx2.post(f"{server.url}/v2/images/upscale", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        job = f"{server.url}/v2/jobs/{answer.json()['jobId']}"
        eventually(
            lambda: httpx2.get(job, headers=headers).json()["status"] == "COMPLETED",
            what="the end of a sandbox job",
        )
