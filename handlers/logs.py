"""The log: one line a record, as text or as JSON, with the ids of the request and the job.

No key, prompt, signed link or webhook's query is to be logged in the first place. What looks like
one is masked all the same, in tracebacks too, just before a line is written.
"""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

from jobs import subject

LogFormat = Literal["text", "json"]

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MASK = "***"
MAX_CHARS = 64 * 1024
"""Of one value in a line; what is longer is cut after it was masked."""

_MAX_MASKED_CHARS = 16 * MAX_CHARS  # no more is looked at: to mask 10 MB would take seconds

QUIET = (
    "boto3", "botocore", "s3transfer", "urllib3", "httpcore2", "psycopg", "pyvips", "stripe",
)  # fmt: skip
"""Libraries that tell at DEBUG or INFO what they send (headers, links, passwords), or each step."""

_UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), rest)
    for pattern, rest in (
        # Every repetition is bounded or cannot meet what follows it: long lines take no longer.
        (r"\bdata:[\w.+-]{0,100}/?[\w.+;=-]{0,200},[^\s\"'<>)]*", f"data:{MASK}"),
        (r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@?]{0,200}):[^\s]{0,500}@", rf"\1:{MASK}@"),
        (r"(\bhttps?://[^\s?\"'<>]{0,2000})\?[^\s\"'<>]*", rf"\1?{MASK}"),
        (r"\?[^\s?\"'<>]*signature=[^\s\"'<>]*", f"?{MASK}"),
        (r"(\bx-amz-[a-z-]{1,40}=)[^\s&\"'<>]+", rf"\1{MASK}"),
        (r"(\bpass(?:word|wd)?=)[^\s&\"'<>]+", rf"\1{MASK}"),
        (r"\b(Bearer)\s+[^\s\"',]+", rf"\1 {MASK}"),
        (r"\b(afk_)\w+", rf"\1{MASK}"),
        (r"\b(sk-)[\w-]{8,}", rf"\1{MASK}"),
        (r"\b([rs]k_(?:live|test)_)\w+", rf"\1{MASK}"),
        (r"\b(whsec_)[\w+/=-]+", rf"\1{MASK}"),
        (r"\b(uploads/)[0-9a-f]{32}", rf"\1{MASK}"),  # whoever has an upload's name has the file
    )
)


def configure(
    format_: LogFormat, *, level: int = logging.INFO, stream: TextIO | None = None
) -> None:
    """Have all loggers of this process write to `stream` (by default to stderr), and only there.

    A server's own loggers included, if it leaves logging alone (uvicorn: `log_config=None`).
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(_Json() if format_ == "json" else _Text())
    handler.addFilter(_about)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def masked(text: str) -> str:
    """The text without what looks like a secret, cut to `MAX_CHARS`."""
    text = text[:_MAX_MASKED_CHARS]
    for pattern, rest in _SECRETS:
        text = pattern.sub(rest, text)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


def _about(record: logging.LogRecord) -> bool:
    """Note in the record which request and which job it is about, where there is one."""
    for name, current in (("request_id", subject.request_id), ("job_id", subject.job_id)):
        value = current.get()
        if value is not None:
            setattr(record, name, value)
    return True


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds")


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        told = [
            f" {name}={getattr(record, name)}"
            for name in ("request_id", "job_id")
            if hasattr(record, name)
        ]
        return super().formatMessage(record) + "".join(told)

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class _Json(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
                "stack_info": "stack",
            },
            json_ensure_ascii=False,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        return _time(record)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # Before it becomes JSON: there a quote in a value would look like its end.
        log_data.pop("color_message", None)  # uvicorn's, the message once more
        return {name: _plain(value) for name, value in log_data.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return masked(str(value))
