"""Requests a minute by key, in both dialects: the refusal and the header fields."""

from collections.abc import Iterator

import pytest

from billing.administration import create_key, set_plan
from billing.plans import Plan, Plans
from billing.rates import LIMIT_KEPT_MS
from tests.handlers.clients import NOWHERE, TOPAZ, Apiframe, VicSee, assert_refused
from tests.running import Clock, Customer, Running, running

PLANS = Plans(
    plans={
        "self-hosted": Plan(daily_requests=70),
        "slow": Plan(requests_per_minute=3, daily_requests=50, max_in_flight=1),
    }
)
FIELDS = ("RateLimit-Policy", "RateLimit")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Running]:
    """A service with a slow plan."""
    folder = tmp_path_factory.mktemp("planned")
    with running(folder, clock=clock, models=frozenset({TOPAZ}), plans=PLANS) as service:
        yield service


@pytest.fixture
def apiframe(planned: Running) -> Apiframe:
    """A customer on the slow plan."""
    return Apiframe(planned, slow(planned))


@pytest.fixture
def vicsee(planned: Running) -> VicSee:
    """A customer on the slow plan."""
    return VicSee(planned, slow(planned))


def slow(service: Running) -> Customer:
    customer = service.account()
    set_plan(service.services.kv, customer.id, plan="slow", plans=PLANS)
    return customer


def test_a_request_too_many_is_refused_in_apiframes_shape(apiframe: Apiframe) -> None:
    assert [apiframe.get("/me").status_code for _ in range(3)] == [200] * 3
    answer = apiframe.get("/me")
    message = "Rate limit exceeded. Limit: 3/minute. Try again in 20 seconds"
    assert (answer.status_code, answer.json()) == (429, {"error": message})
    assert answer.headers["Retry-After"] == "20"


def test_a_request_too_many_is_refused_in_vicsees_shape(vicsee: VicSee) -> None:
    for _ in range(3):
        vicsee.get("/credits")
    answer = vicsee.upscale(image_url=NOWHERE)
    message = "Rate limit exceeded. Limit: 3/minute. Try again in 20 seconds"
    assert_refused(answer, 429, "RATE_LIMITED", message)
    assert answer.headers["Retry-After"] == "20"
    assert answer.headers["X-RateLimit-Limit"] == "50"
    assert answer.headers["X-RateLimit-Remaining"] == "50"  # it was none of the day's requests
    assert answer.headers["X-RateLimit-Reset"]


def test_what_retry_after_says_is_enough(apiframe: Apiframe, clock: Clock) -> None:
    for _ in range(3):
        apiframe.get("/me")
    clock.advance(seconds=int(apiframe.get("/me").headers["Retry-After"]))
    assert apiframe.get("/me").status_code == 200
    assert apiframe.get("/me").status_code == 429


def test_every_answer_tells_the_rate_errors_too(apiframe: Apiframe) -> None:
    seen = [apiframe.get("/me"), apiframe.get("/jobs/none"), apiframe.get("/jobs", limit=0)]
    seen.append(apiframe.get("/me"))
    assert [answer.status_code for answer in seen] == [200, 400, 400, 429]
    told = [tuple(answer.headers[name] for name in FIELDS) for answer in seen]
    assert told == [
        ('"key";q=3;w=60', '"key";r=2;t=20'),
        ('"key";q=3;w=60', '"key";r=1;t=40'),
        ('"key";q=3;w=60', '"key";r=0;t=60'),
        ('"key";q=3;w=60', '"key";r=0;t=60'),
    ]


def test_both_dialects_share_a_keys_rate_and_two_keys_do_not(
    planned: Running, apiframe: Apiframe, clock: Clock
) -> None:
    same = VicSee(planned, apiframe.customer)
    apiframe.get("/me")
    assert same.get("/credits").headers["RateLimit"] == '"key";r=1;t=40'
    second = create_key(planned.services.kv, same.customer.id, name="second", now_ms=clock())
    headers = {"X-API-Key": second.apiframe_spelling}
    answer = planned.http.get("/v2/me", headers=headers)
    assert answer.headers["RateLimit"] == '"key";r=2;t=20'


def test_without_a_limit_or_a_key_there_are_no_fields(planned: Running) -> None:
    free = planned.account()
    answers = [Apiframe(planned, free).get("/me"), VicSee(planned, free).get("/credits")]
    answers += [planned.http.get(path) for path in ("/v2/me", "/v2/models", "/api/v1/credits")]
    assert [answer.status_code for answer in answers] == [200, 200, 401, 200, 401]
    assert not {*FIELDS} & {name for answer in answers for name in answer.headers}


def test_a_new_plan_holds_within_a_minute(planned: Running, clock: Clock) -> None:
    customer = planned.account()
    apiframe = Apiframe(planned, customer)
    assert "RateLimit" not in apiframe.get("/me").headers
    set_plan(planned.services.kv, customer.id, plan="slow", plans=PLANS)
    clock.now_ms += LIMIT_KEPT_MS
    assert apiframe.get("/me").headers["RateLimit-Policy"] == '"key";q=3;w=60'


def test_a_quote_counts_in_the_rate(vicsee: VicSee) -> None:
    for left in (2, 1, 0):
        answer = vicsee.post("/tools/upscale-image/quote", json={"width": 9, "height": 9})
        assert answer.status_code == 200
        assert f";r={left};" in answer.headers["RateLimit"]
    answer = vicsee.post("/tools/upscale-image/quote", json={"width": 9, "height": 9})
    assert_refused(answer, 429, "RATE_LIMITED")


def test_an_account_has_its_plans_other_limits_too(planned: Running, apiframe: Apiframe) -> None:
    assert apiframe.get("/me").json()["team"]["plan"] == "slow"
    assert apiframe.get("/me").json()["team"]["maxConcurrentJobs"] == 1
    quota = VicSee(planned, apiframe.customer).get("/credits").headers["X-RateLimit-Limit"]
    assert quota == "50"


def test_who_is_not_known_is_shown_the_default_plans_day(planned: Running) -> None:
    assert planned.http.get("/api/v1/nothing").headers["X-RateLimit-Limit"] == "70"


def test_jobs_in_flight_are_those_that_the_plan_allows_today(
    planned: Running, apiframe: Apiframe, photo: str
) -> None:
    written = {"slow": Plan(max_in_flight=100)}  # by the plan's file of yesterday
    set_plan(planned.services.kv, apiframe.customer.id, plan="slow", plans=Plans(plans=written))
    apiframe.submitted(photo)
    answer = apiframe.topaz(photo)
    assert answer.status_code == 429
    assert answer.json() == {"error": "Too many unfinished jobs: this account may have 1 at a time"}
