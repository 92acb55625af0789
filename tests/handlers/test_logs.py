"""The log: what a line carries in either form, what is masked, and what is never said."""

import io
import json
import logging
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from handlers.logs import MASK, MAX_CHARS, LogFormat, configure, masked
from jobs import subject
from jobs.records import JOBS, find_job
from storage.kv import Add, Change, Due, Item, Key, Put, Unavailable
from storage.sqlite import SqliteKeyValue
from tests.handlers.clients import CLARITY, Apiframe, clarity_body
from tests.handlers.working import Tiny, complete, fail
from tests.running import Clock, Origin, Running, picture, running

KEY_BODY = "aB3" * 10
PROMPT = "a heron wading through the reeds"
QUERY = "customer-secret-4711"
SIGNED = "c0ffee" * 8
HEX = "0123456789abcdef" * 2


@contextmanager
def logging_to(format_: LogFormat, *, level: int = logging.DEBUG) -> Iterator[io.StringIO]:
    """Configure logging, and put everything back after the block."""
    root = logging.getLogger()
    names = [name for name in root.manager.loggerDict if isinstance(name, str)]
    loggers = [root, *map(logging.getLogger, names)]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    root.handlers.clear()  # so that none of the test runner's is closed
    stream = io.StringIO()
    try:
        configure(format_, level=level, stream=stream)
        yield stream
    finally:
        for each in logging.root.manager.loggerDict.values():
            if isinstance(each, logging.Logger):
                each.handlers.clear()
                each.setLevel(logging.NOTSET)
                each.propagate = True
        for each, handlers, was, propagates in before:
            each.handlers[:] = handlers
            each.setLevel(was)
            each.propagate = propagates


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def log() -> logging.Logger:
    return logging.getLogger("tests.logs")


def test_a_line_of_json_has_time_level_logger_and_message() -> None:
    with logging_to("json") as stream:
        log().warning("%d of %s", 3, "four")
    (line,) = lines(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "WARNING", "logger": "tests.logs", "message": "3 of four"}


def test_a_line_of_text_has_them_too() -> None:
    with logging_to("text") as stream:
        log().warning("%d of %s", 3, "four")
    assert stream.getvalue().endswith("+00:00 WARNING tests.logs: 3 of four\n")


def test_json_stays_one_line_whatever_is_logged() -> None:
    with logging_to("json") as stream:
        try:
            raise ValueError('two\nlines and a "quote"')
        except ValueError:
            log().exception("a\nb", extra={"size_bytes": 3, "path": Path("/a")})
    (line,) = lines(stream)
    assert line["message"] == "a\nb"
    assert line["exception"].startswith("Traceback")
    assert 'lines and a "quote"' in line["exception"]
    assert (line["size_bytes"], line["path"]) == (3, "/a")


@pytest.mark.parametrize("format_", ["text", "json"])
def test_within_a_job_every_line_has_its_id(format_: LogFormat) -> None:
    job_id = UUID(HEX)
    with logging_to(format_) as stream:
        log().info("before")
        with subject.about_job(job_id):
            log().info("within")
        log().info("after")
    assert [str(job_id) in line for line in stream.getvalue().splitlines()] == [False, True, False]


def test_servers_write_to_the_same_log() -> None:
    names = ("uvicorn", "uvicorn.error", "uvicorn.access")
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    with logging_to("json", level=logging.INFO) as stream:
        for name in names:
            logging.getLogger(name).info("up", extra={"color_message": "UP"})
    assert [line["logger"] for line in lines(stream)] == [*names]
    assert "UP" not in stream.getvalue()


@pytest.mark.parametrize(
    "name", ["botocore.auth", "urllib3.connectionpool", "httpcore2.http11", "stripe"]
)
def test_libraries_do_not_tell_what_they_send(name: str) -> None:
    with logging_to("text", level=logging.DEBUG) as stream:
        logging.getLogger(name).debug("headers")
    assert stream.getvalue() == ""


SECRETS = [
    (f"key afk_{KEY_BODY} is wrong", f"key afk_{MASK} is wrong"),
    (f"'X-API-Key': 'afk_{KEY_BODY}'", f"'X-API-Key': 'afk_{MASK}'"),
    (f"sk-{KEY_BODY},", f"sk-{MASK},"),
    ("secret whsec_AbC+/dEf==", f"secret whsec_{MASK}"),
    ("sk_live_AbCdEf and rk_test_AbCdEf", f"sk_live_{MASK} and rk_test_{MASK}"),
    ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {MASK}"),
    ('{"authorization": "bearer abc"}', f'{{"authorization": "bearer {MASK}"}}'),
    (
        "GET https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=ab: 403",
        f"GET https://b.s3.amazonaws.com/k?{MASK} 403",
    ),
    ("/k?Expires=1&Signature=ab%2F done", f"/k?{MASK} done"),
    ("X-Amz-Credential=abc&x=1", f"X-Amz-Credential={MASK}&x=1"),
    (f"http://hook.example/a?token={QUERY} x", f"http://hook.example/a?{MASK} x"),
    ("postgresql://ann:p%40ss:w@rd@db/x?a=b", f"postgresql://ann:{MASK}@db/x?a=b"),
    ("host=db password=hunter2 user=ann", f"host=db password={MASK} user=ann"),
    ("'data:image/png;base64,iVBORw0KGgo='", f"'data:{MASK}'"),
    ("data:,plain", f"data:{MASK}"),
    (f"/files/uploads/{HEX}.png", f"/files/uploads/{MASK}.png"),
]


@pytest.mark.parametrize(("said", "written"), SECRETS)
def test_what_looks_like_a_secret_is_masked(said: str, written: str) -> None:
    assert masked(said) == written


@pytest.mark.parametrize(
    "said",
    [
        "task-0123456789abcdef waits on disk-cache",
        "https://example.com/a/b.png: status 404",
        "http://127.0.0.1:8000/v2",
        "metadata: 3 values; data: none",
        "job 01a1fbf6-6857-722d-9b20-6d2447f118c7: attempt 1 failed?",
    ],
)
def test_what_does_not_is_left_alone(said: str) -> None:
    assert masked(said) == said


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.parametrize(("said", "written"), SECRETS)
def test_tracebacks_and_arguments_are_masked(format_: LogFormat, said: str, written: str) -> None:
    with logging_to(format_) as stream:
        try:
            raise RuntimeError(said)
        except RuntimeError as error:
            log().exception("failed: %s", error, extra={"what": said})
    if format_ == "text":
        assert said not in stream.getvalue()
        assert stream.getvalue().count(written) == 2
    else:
        (line,) = lines(stream)
        assert line["message"] == f"failed: {written}"
        assert line["exception"].endswith(written)
        assert line["what"] == written


def test_a_long_line_is_cut() -> None:
    assert len(masked("x" * 20 * MAX_CHARS)) == MAX_CHARS + 1


class Failing(SqliteKeyValue):
    """A store that can be made to fail, at reading or at writing."""

    reading: Exception | None = None
    failure: Exception | None = None

    def get(self, key: Key) -> Item | None:
        if self.reading is not None:
            raise self.reading
        return super().get(key)

    def commit(self, *changes: Change) -> None:
        if self.failure is not None and not all(isinstance(each, Add) for each in changes):
            raise self.failure
        super().commit(*changes)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Failing:
    return Failing(tmp_path / "store.sqlite", clock=clock)


@pytest.fixture
def service(tmp_path: Path, kv: Failing, clock: Clock) -> Iterator[Running]:
    """A service that has Clarity."""
    with running(tmp_path, kv=kv, clock=clock, models=frozenset({CLARITY})) as service:
        yield service


@pytest.fixture
def log_of(service: Running) -> Iterator[io.StringIO]:
    assert service  # which configures its server's own log first
    with logging_to("json") as stream:
        yield stream


def submit(apiframe: Apiframe, origin: Origin) -> UUID:
    origin.files[f"/photo.png?X-Amz-Signature={SIGNED}"] = picture()
    body = clarity_body(f"{origin.url}/photo.png?X-Amz-Signature={SIGNED}", prompt=PROMPT)
    webhook = {"webhookUrl": f"{origin.url}/hook?{QUERY}=1"}
    answer = apiframe.post("/images/upscale", json=body | webhook)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["jobId"])


def deliver(service: Running, job_id: UUID) -> None:
    for item in service.services.kv.query(f"deliveries#{job_id}"):
        service.services.courier.deliver(item.key)


def break_record(service: Running, job_id: UUID) -> None:
    """Have the job's prompt be of a type that nobody can read, and the job be due."""
    kept = find_job(service.services.kv, job_id)
    assert kept is not None
    key = Key(f"jobs#{kept.job.account_id}", str(job_id))
    value = kept.job.model_dump(mode="json")
    value["params"]["creative"]["prompt"] = [PROMPT]
    service.services.kv.commit(Put(key, value, replaces=kept.version, due=Due(JOBS, 0)))


class Breaking(Tiny):
    """An engine that breaks down."""

    def upscale(self, *_: object, **__: object) -> Any:
        raise RuntimeError("out of luck")


@pytest.mark.parametrize("is_raw", [False, True])
def test_a_whole_flow_with_all_its_failures_says_no_secret(
    service: Running,
    kv: Failing,
    origin: Origin,
    log_of: io.StringIO,
    is_raw: bool,
) -> None:
    if is_raw:  # without the masks: nothing need have been masked
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is log_of:
                handler.setFormatter(logging.Formatter())
    apiframe = Apiframe(service, service.account())
    done, failed, broken, unreadable = (submit(apiframe, origin) for _ in range(4))
    complete(service, done)
    fail(service, failed)
    service.services.worker(Breaking()).work(broken)
    break_record(service, unreadable)
    service.services.sweeper.sweep()
    origin.answers.append(500)
    deliver(service, done)
    origin.answers.append(410)
    deliver(service, failed)
    assert apiframe.clarity(f"{origin.url}/none?{QUERY}=1", prompt=PROMPT).status_code == 400
    kv.failure = Unavailable("no connection")
    assert submit_in_line(apiframe).status_code == 503
    kv.failure = RuntimeError("a defect")
    assert submit_in_line(apiframe).status_code == 500
    kv.failure = None

    said = log_of.getvalue()
    assert "out of luck" in said
    assert "a defect" in said
    assert f"sweep: jobs {unreadable} stays due" in said
    assert "/v2/images/upscale: 503" in said
    for secret in (
        apiframe.customer.opened.key.body,
        apiframe.customer.opened.account.webhook_secret,
        PROMPT,
        QUERY,
        SIGNED,
        b64encode(picture()).decode(),
    ):
        assert secret not in said


def test_what_a_request_logs_has_its_id(service: Running, kv: Failing, log_of: io.StringIO) -> None:
    apiframe = Apiframe(service, service.account())
    kv.failure = Unavailable("no connection")
    answer = submit_in_line(apiframe)
    told = [line for line in lines(log_of) if line["logger"] == "handlers.limits"]
    assert [line["request_id"] for line in told] == [answer.headers["x-request-id"]]


def test_what_is_logged_for_a_request_in_another_thread_has_its_id(
    service: Running, kv: Failing, log_of: io.StringIO
) -> None:
    kv.reading = Unavailable("no connection")
    answer = service.http.get("/readyz")
    told = [line for line in lines(log_of) if line["logger"] == "handlers.health"]
    assert {line["request_id"] for line in told} == {answer.headers["x-request-id"]}


def test_what_a_worker_logs_has_its_jobs_id(
    service: Running, origin: Origin, log_of: io.StringIO
) -> None:
    job_id = submit(Apiframe(service, service.account()), origin)
    service.services.worker(Breaking()).work(job_id)
    told = [line for line in lines(log_of) if line["logger"] == "jobs.worker"]
    assert [line["job_id"] for line in told] == [str(job_id)]


def submit_in_line(apiframe: Apiframe) -> Any:
    uri = f"data:image/png;base64,{b64encode(picture()).decode()}"
    return apiframe.clarity(uri, prompt=PROMPT)
