"""Hostile and broken input, in both dialects: refused in shape, charged nothing, nothing left."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from handlers.app import MAX_BODY_BYTES
from tests.handlers.clients import NOWHERE, Apiframe, Client, VicSee, raw_status, topaz_body
from tests.handlers.pictures import promised
from tests.jobs.loopback import is_untouched, listening, ok, serving, status
from tests.running import Running, picture

CUSTOMERS = pytest.mark.parametrize("speaks", [Apiframe, VicSee])
SUBMIT = {Apiframe: "/images/upscale", VicSee: "/tools/upscale-image"}
TOO_DEEP = 100_000
ODD_BODIES: list[bytes] = [
    b"",
    b" ",
    b"{",
    b'{"a":}',
    b"null",
    b"true",
    b"5",
    b'"text"',
    b"[]",
    b"[{}]",
    b"{}",
    b"NaN",
    b'{"model": NaN}',
    b'{"image_url": NaN}',
    b'{"image_url": "http://127.0.0.1:9/", "upscale_factor": NaN}',
    b'{"model":"topaz-image-upscale","topazUpscaleParams":{"image":"http://127.0.0.1:9/",'
    b'"face_enhance_strength":NaN}}',
    b'{"model":"topaz-image-upscale","topazUpscaleParams":{"image":"http://127.0.0.1:9/",'
    b'"upscale_factor":Infinity}}',
    b'{"model":"topaz-image-upscale","topazUpscaleParams":{"image":"http://127.0.0.1:9/",'
    b'"seed":' + b"9" * 5000 + b"}}",
    b'{"upscale_factor": ' + b"9" * 5000 + b"}",
    b"[" * TOO_DEEP,
    b"[" * TOO_DEEP + b"]" * TOO_DEEP,
    b'{"a":' * TOO_DEEP + b"1" + b"}" * TOO_DEEP,
    *[b'{"a":' + b"[" * depth + b"]" * depth + b"}" for depth in range(600, 1000, 20)],
    b"\xff\xfe",
    b'{"model": "\xc3\x28"}',
    b"\x00\x00\x00",
    b'{"model": "\\ud800", "image_url": "\\ud800"}',
    b'{"\\ud800": 1}',
    b'{"model":"topaz-image-upscale","\\ud800":1,"topazUpscaleParams":{"\\udfff":1}}',
    b'{"model":"topaz-image-upscale","topazUpscaleParams":{"image":"http://127.0.0.1/\\ud800"}}',
    b'{"model":"topaz-image-upscale","topazUpscaleParams":{"image":"https://\\u0000"}}',
    b'{"image_url":"http://127.0.0.1/\\ud800"}',
    b'{"image_url":"https://\\u0000"}',
]


@pytest.fixture(scope="module", params=["application/json", "text/plain", ""])
def content_type(request: pytest.FixtureRequest) -> str:
    """What the client says of its body."""
    return str(request.param)


@CUSTOMERS
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}])
def test_a_body_that_is_no_request_is_refused(
    service: Running, speaks: type[Client], content_type: str, headers: dict[str, str]
) -> None:
    customer = speaks(service, service.account(daily_requests=len(ODD_BODIES)))
    before = customer.left()
    for body in ODD_BODIES:
        said = headers | ({"Content-Type": content_type} if content_type else {})
        answer = customer.post(SUBMIT[speaks], content=body, headers=said)
        assert_refusal(answer, speaks, shows=body[:80])
    assert customer.left() == before


@CUSTOMERS
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_huge_body_is_refused_without_being_taken_in(
    service: Running, speaks: type[Client], is_chunked: bool
) -> None:
    customer = speaks(service, service.account())
    before = customer.left()
    large = b" " * (MAX_BODY_BYTES + 1)

    def pieces() -> Iterator[bytes]:
        yield large

    content = pieces() if is_chunked else large
    answer = customer.post(SUBMIT[speaks], content=content)
    assert_refusal(answer, speaks)
    assert str(MAX_BODY_BYTES) in answer.text
    assert customer.left() == before


@pytest.mark.parametrize("path", ["/v2/images/upscale", "/api/v1/upload", "/files/{reserved}"])
def test_a_body_that_is_promised_too_large_is_refused_before_it_is_sent(
    service: Running, apiframe: Apiframe, path: str
) -> None:
    keys = apiframe.customer.apiframe | apiframe.customer.vicsee
    place = {"contentType": "image/png", "sizeBytes": 5}
    reserved = VicSee(service, apiframe.customer).post("/upload", json=place).json()["data"]["key"]
    head = [
        f"{'PUT' if path.startswith('/files') else 'POST'} {path} HTTP/1.1".replace(
            "{reserved}", reserved
        ),
        "Host: test",
        "Content-Type: application/json",
        f"Content-Length: {10**12}",
        *[f"{name}: {value}" for name, value in keys.items()],
        "",
        "",
    ]
    assert raw_status(service, head) == 400


@CUSTOMERS
def test_a_long_list_of_faults_has_a_short_answer(service: Running, speaks: type[Client]) -> None:
    customer = speaks(service, service.account())
    body = topaz_body(NOWHERE) | {f"{number}" * 1000: 1 for number in range(1000)}
    answer = customer.post(SUBMIT[speaks], json=body)
    assert_refusal(answer, speaks)
    assert len(answer.content) < 10_000


@CUSTOMERS
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/missing", status(404, "Content-Length: 0")),
        ("/down", status(500, "Content-Length: 0")),
        ("/empty", ok(b"")),
        ("/page", ok(b"<html>not a picture</html>")),
        ("/gif", ok(b"GIF89a" + bytes(40))),
        ("/svg", ok(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
        ("/truncated", ok(picture()[:60])),
        ("/cut", status(200, f"Content-Length: {len(picture())}") + picture()[:60]),
        ("/large", status(200, f"Content-Length: {60 * 1024 * 1024}")),
        ("/bomb", ok(promised(2**31 - 1, 2**31 - 1))),
        ("/loop", status(302, "Location: /loop", "Content-Length: 0")),
        ("/inside", status(302, "Location: http://10.0.0.1/", "Content-Length: 0")),
        ("/zipped", ok(picture(), "Content-Encoding: gzip")),
        ("/nonsense", b"not http at all\r\n\r\n"),
    ],
)
def test_an_origin_without_a_usable_picture_is_a_failed_probe(
    service: Running, speaks: type[Client], path: str, answer: bytes
) -> None:
    customer = speaks(service, service.account())
    before = customer.left()
    with serving({path: answer}) as server:
        refused = submit(customer, server.url(path))
    assert_refusal(refused, speaks)
    assert refused.status_code == (400 if speaks is Apiframe else 422)
    if speaks is VicSee:
        assert refused.json()["error"]["code"] == "PROBE_FAILED"
    assert customer.left() == before


@CUSTOMERS
@pytest.mark.parametrize(
    "host", ["127.0.0.2", "0x7f.0.0.2", "2130706434", "127.2", "[::ffff:127.0.0.2]"]
)
def test_a_private_address_is_never_connected_to(
    service: Running, speaks: type[Client], host: str
) -> None:
    customer = speaks(service, service.account())
    before = customer.left()
    with listening("127.0.0.2") as (listener, port):
        assert_refusal(submit(customer, f"http://{host}:{port}/photo.png"), speaks)
        with serving(
            {"/": status(302, f"Location: http://{host}:{port}/", "Content-Length: 0")}
        ) as server:
            assert_refusal(submit(customer, server.url()), speaks)
        assert is_untouched(listener)
    assert customer.left() == before


@CUSTOMERS
@pytest.mark.parametrize(
    "image",
    [
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/png;base64",
        f"data:image/png;{'x' * 300};base64,{base64.b64encode(picture()).decode()}",
        f"http://example.com/{'x' * 9000}",
        "{own}/files/uploads/" + "x" * 5000,
        "{own}/files/uploads/../store.sqlite",
        "{own}/files/\x00",
        "{own}/files/é",
        "{own}/files/",
        "{own}/files/sources/x.png",
    ],
)
def test_an_odd_source_is_a_failed_probe(
    service: Running, speaks: type[Client], image: str
) -> None:
    customer = speaks(service, service.account())
    before = customer.left()
    refused = submit(customer, image.replace("{own}", service.url))
    assert_refusal(refused, speaks)
    assert refused.status_code == (400 if speaks is Apiframe else 422)
    assert customer.left() == before


@CUSTOMERS
def test_a_data_uri_over_ten_megabytes_is_refused(service: Running, speaks: type[Client]) -> None:
    customer = speaks(service, service.account())
    data = base64.b64encode(picture() + bytes(10 * 1024 * 1024)).decode()
    refused = submit(customer, f"data:image/png;base64,{data}")
    assert_refusal(refused, speaks)


@CUSTOMERS
def test_a_data_uri_is_a_source_and_is_kept_without_its_data(
    service: Running, speaks: type[Client]
) -> None:
    customer = speaks(service, service.account())
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    accepted = submit(customer, uri)
    assert accepted.status_code in (200, 202)
    job = customer.left().jobs[0]
    assert "data:image/png;base64,\u2026" in job.said.values()
    assert len(json.dumps(job.said)) < 1000


@CUSTOMERS
@pytest.mark.parametrize("query", ["a" * 60_000, "%ff%fe", "limit=1&limit=2"])
def test_an_odd_address_gets_an_answer_in_shape(
    service: Running, speaks: type[Client], query: str
) -> None:
    customer = speaks(service, service.account())
    answer = service.http.get(f"{customer.prefix}/nothing?{query}", headers=customer.headers)
    assert_refusal(answer, speaks)


def submit(customer: Client, image: str) -> httpx2.Response:
    """Submit in the customer's dialect."""
    body = topaz_body(image) if isinstance(customer, Apiframe) else {"image_url": image}
    return customer.post(SUBMIT[type(customer)], json=body)


def assert_refusal(answer: httpx2.Response, speaks: type[Client], *, shows: Any = None) -> None:
    """A refusal of the client's request, in the dialect's shape."""
    assert 400 <= answer.status_code < 500, (shows, answer.status_code, answer.text[:200])
    assert "x-request-id" in answer.headers
    body = answer.json()
    if speaks is Apiframe:
        assert answer.status_code != 422
        assert isinstance(body["error"], str)
        assert set(body) <= {"error", "details"}
    else:
        assert (set(body), body["success"]) == ({"success", "error"}, False)
        assert set(body["error"]) == {"code", "message"}
