"""A customer of each dialect, and what a request has left behind at the service."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx2

from billing.accounts import Balance, find_account
from jobs.job import Job
from jobs.records import find_job, list_jobs
from tests.running import Customer, Running

TOPAZ = "topaz-image-upscale"
CLARITY = "clarity-upscale"
PATIENCE_S = 10.0
NOWHERE = "http://127.0.0.1:9/never-asked.png"
"""A source for requests that must be refused before it is fetched."""


@dataclass
class Client:
    """One customer's requests, the key in the dialect's header."""

    service: Running
    customer: Customer

    prefix = ""

    @property
    def headers(self) -> dict[str, str]:
        raise NotImplementedError

    def get(self, path: str, **query: Any) -> httpx2.Response:
        """GET, with the key."""
        return self.service.http.get(f"{self.prefix}{path}", params=query, headers=self.headers)

    def post(
        self, path: str, *, headers: dict[str, str] | None = None, **content: Any
    ) -> httpx2.Response:
        """POST, with the key."""
        both = self.headers | (headers or {})
        return self.service.http.post(f"{self.prefix}{path}", headers=both, **content)

    def left(self) -> "Left":
        """What is there of this customer's."""
        kv = self.service.services.kv
        return Left(
            balance=find_account(kv, self.customer.id)[1],
            jobs=list_jobs(kv, self.customer.id, before=None, limit=100),
            files=files_of(self.service),
        )


class Apiframe(Client):
    """A customer who speaks Apiframe."""

    prefix = "/v2"

    @property
    def headers(self) -> dict[str, str]:
        return self.customer.apiframe

    def topaz(self, image: str, *, idempotency_key: str = "", **params: Any) -> httpx2.Response:
        """Submit to the faithful model."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
        return self.post("/images/upscale", json=topaz_body(image, **params), headers=headers)

    def clarity(self, image: str, **params: Any) -> httpx2.Response:
        """Submit to the creative model."""
        return self.post("/images/upscale", json=clarity_body(image, **params))

    def submitted(self, image: str, **params: Any) -> UUID:
        """The id of a job that was accepted."""
        answer = self.topaz(image, **params)
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["jobId"])


class VicSee(Client):
    """A customer who speaks VicSee."""

    prefix = "/api/v1"

    @property
    def headers(self) -> dict[str, str]:
        return self.customer.vicsee

    def upscale(self, **body: Any) -> httpx2.Response:
        """Submit to the dedicated route."""
        return self.post("/tools/upscale-image", json=body)

    def submitted(self, image_url: str, **body: Any) -> str:
        """The id of a task that was accepted."""
        answer = self.upscale(image_url=image_url, **body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["id"])


class Left(NamedTuple):
    """What is there of a customer's: credits, jobs, newest first, and every stored file."""

    balance: Balance
    jobs: list[Job]
    files: list[Path]


def topaz_body(image: str, **params: Any) -> dict[str, Any]:
    """The body of a submission to the faithful model."""
    return {"model": TOPAZ, "topazUpscaleParams": {"image": image, **params}}


def clarity_body(image: str, **params: Any) -> dict[str, Any]:
    """The body of a submission to the creative model."""
    return {"model": CLARITY, "clarityUpscaleParams": {"image": image, **params}}


def files_of(service: Running) -> list[Path]:
    """Every file in the folder of objects, half-written ones included."""
    return sorted(path for path in (service.folder / "objects").rglob("*") if path.is_file())


def kept_job(service: Running, job_id: UUID) -> Job:
    """The job's record."""
    kept = find_job(service.services.kv, job_id)
    assert kept is not None
    return kept.job


def raw_status(service: Running, lines: list[str]) -> int:
    """The status of the answer to these lines alone, which no client has tidied up."""
    with socket.create_connection(("127.0.0.1", httpx2.URL(service.url).port or 0)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def assert_refused(
    answer: httpx2.Response, status: int, code: str, message: str | None = None
) -> None:
    """VicSee's envelope of an error, with that code."""
    body = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (status, code)
    assert body == {"success": False, "error": {"code": code, "message": body["error"]["message"]}}
    assert body["error"]["message"] == (message or body["error"]["message"])
