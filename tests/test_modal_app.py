"""The functions of the Modal app, each called here, without an account and without Modal."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from PIL import Image

import deployment
import modal_app
from billing.accounts import account_key
from billing.administration import create_key, open_account
from billing.keys import SANDBOX_SCOPES, Powers
from handlers.settings import SettingsError
from inference.errors import ModelUnknown
from inference.published import PHOTO
from inference.published_diffusion import DIFFUSION
from jobs.ids import system_clock
from jobs.job import SANDBOX, Job, Status
from jobs.records import find_job
from jobs.spawning import JobHint, SpawnDispatcher
from storage.kv import Add
from storage.objects import read
from storage.sqlite import SqliteKeyValue
from tests.handlers.clients import Apiframe, kept_job
from tests.inference.creative.tiny_engine import Model
from tests.jobs.machine import PATIENCE_S
from tests.running import Customer, Origin, Running, picture, served
from tests.weights import present

pytestmark = pytest.mark.filterwarnings("ignore:.*is executing locally.*:UserWarning")

BUILT_IN = PHOTO.x2.id
SPAWNED = "the hint failed and is left to the sweeper: AuthError"
"""What is said of every hint: there is no account to call anything with."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin({"/photo.png": picture()}).serving() as origin:
        yield origin


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the secret and the functions set, for stores in the folder that is returned."""
    store = tmp_path / "store.sqlite"
    SqliteKeyValue(store, clock=system_clock).close()
    for name, value in {
        "STORE_URL": f"sqlite://{store}",
        "OBJECTS_URL": f"file://{tmp_path / 'objects'}",
        "PUBLIC_URL": "https://enlarger.test",
        "WEIGHTS": str(tmp_path / "weights"),
        "DEVICE": "cpu",
        "OUTBOUND_ALLOW": "127.0.0.1/32",
    }.items():
        monkeypatch.setenv(f"ENLARGER_{name}", value)
    return tmp_path


@pytest.fixture
def weights(environment: Path) -> None:
    """Clarity's files, as far as anybody looks who does not load them."""
    present(*DIFFUSION, folder=environment / "weights")


@pytest.fixture
def customer(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Apiframe]:
    """A customer of the web function, served on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("ENLARGER_PUBLIC_URL", url)
        web = modal_app.web.local()
        services = web.state.services
        opened = open_account(services.kv, "test", credits=100, now_ms=system_clock())
        with served(web, listener), httpx2.Client(base_url=url, timeout=PATIENCE_S) as http:
            yield Apiframe(Running(url, services, http, environment), Customer(opened))
        services.dispatcher.stop(within_s=PATIENCE_S)
        services.kv.close()


@pytest.fixture
def faithful(environment: Path) -> Iterator["modal_app.Faithful"]:
    assert environment
    worker = modal_app.Faithful()
    yield worker
    worker.parts.close()


def see_hints_through(customer: Apiframe) -> None:
    """Return when each of the web function's hints has failed."""
    dispatcher = customer.service.services.dispatcher
    assert isinstance(dispatcher, SpawnDispatcher)
    assert dispatcher.settle(within_s=PATIENCE_S)


def size_of(customer: Apiframe, job_id: UUID) -> tuple[int, int]:
    """The result's, as a customer downloads it."""
    shown = customer.get(f"/jobs/{job_id}").json()
    assert shown["status"] == "COMPLETED", shown
    content = customer.service.http.get(shown["result"]["images"][0]).content
    return Image.open(io.BytesIO(content)).size


def test_an_order_is_accepted_although_it_cannot_be_spawned(
    customer: Apiframe, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    answer = customer.topaz(f"{origin.url}/photo.png", upscale_factor="2")
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["jobId"]
    assert customer.get(f"/jobs/{job_id}").json()["status"] == "QUEUED"
    see_hints_through(customer)
    assert f"job {job_id}: {SPAWNED}" in caplog.text


def test_a_faithful_worker_completes_a_job(
    customer: Apiframe, origin: Origin, faithful: "modal_app.Faithful"
) -> None:
    job_id = customer.submitted(f"{origin.url}/photo.png", upscale_factor="2")
    faithful.upscale.local(str(job_id))
    assert size_of(customer, job_id) == (32, 24)


def test_a_sandbox_worker_completes_a_sandbox_job_and_no_other(
    customer: Apiframe, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(modal_app, "load_engine")
    photo = f"{origin.url}/photo.png"
    live = customer.submitted(photo, upscale_factor="2")
    powers = Powers(SANDBOX_SCOPES, is_sandbox=True)
    key = create_key(
        customer.service.services.kv,
        customer.customer.id,
        name="tests",
        now_ms=system_clock(),
        powers=powers,
    )
    owner = customer.customer.opened
    tests = Apiframe(customer.service, Customer(owner._replace(key=key)))
    rehearsed = tests.submitted(photo, upscale_factor="2")
    worker = modal_app.SandboxWorkers()
    for job_id in (live, rehearsed):
        worker.work.local(str(job_id))
    worker.parts.close()
    assert size_of(tests, rehearsed) == (32, 24)
    assert kept_job(customer.service, live).status is Status.QUEUED


class Spawned:
    """A class of the app that notes what it is called with, under its own name."""

    def __init__(self, name: str, calls: list[tuple[str, str]]) -> None:
        self.name, self.calls = name, calls
        self.work = self.upscale = self

    def __call__(self) -> "Spawned":
        return self

    def spawn(self, job_id: str) -> None:
        self.calls.append((self.name, job_id))


def test_hints_go_to_whoever_works_on_such_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(modal_app, "SandboxWorkers", Spawned("SandboxWorkers", calls))
    tiers = {name: Spawned(name, calls) for name in modal_app.TIERS}
    monkeypatch.setattr(modal_app, "TIERS", tiers)
    for model in (SANDBOX, "topaz-image-upscale", "clarity-upscale"):
        modal_app._spawn_job(JobHint(UUID(int=1), model))
    assert [name for name, _ in calls] == ["SandboxWorkers", "Faithful", "Creative"]
    assert {job_id for _, job_id in calls} == {str(UUID(int=1))}


def test_the_sandbox_has_no_card() -> None:
    assert deployment.SANDBOX_WORKERS.machine.gpu == ()


def test_a_job_that_is_spawned_twice_is_done_once(
    customer: Apiframe, origin: Origin, faithful: "modal_app.Faithful"
) -> None:
    job_id = customer.submitted(f"{origin.url}/photo.png", upscale_factor="2")
    faithful.upscale.local(str(job_id))
    ended = kept_job(customer.service, job_id)
    faithful.upscale.local(str(job_id))
    assert kept_job(customer.service, job_id) == ended
    assert ended.attempt == 1


def test_a_worker_keeps_its_engine_between_jobs(faithful: "modal_app.Faithful") -> None:
    faithful.upscale.local(str(UUID(int=1)))
    engine = faithful.worker.engine
    faithful.upscale.local(str(UUID(int=2)))
    assert faithful.worker.engine is engine


def test_a_container_that_ends_gives_its_jobs_back_at_once(
    customer: Apiframe, origin: Origin, faithful: "modal_app.Faithful"
) -> None:
    job_id = customer.submitted(f"{origin.url}/photo.png", upscale_factor="2")
    ending = modal_app.wire()
    leases = ending.services.leases
    with leases.renewed(taken(ending, job_id)):
        faithful.upscale.local(str(job_id))
        assert kept_job(customer.service, job_id).status is Status.PROCESSING
        ending.close()
        faithful.upscale.local(str(job_id))
    assert kept_job(customer.service, job_id).attempt == 2
    assert size_of(customer, job_id) == (32, 24)


def taken(parts: modal_app.Wired, job_id: UUID) -> Job:
    """The job, under a lease."""
    kept = find_job(parts.services.kv, job_id)
    assert kept is not None
    job = parts.services.leases.take(kept)
    assert job is not None
    return job


@pytest.mark.usefixtures("weights")
def test_a_creative_worker_completes_a_job(
    customer: Apiframe, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.written(tmp_path / "tiny")
    monkeypatch.setattr(modal_app, "load_engine", lambda _: model.engine())
    answer = customer.clarity(f"{origin.url}/photo.png", scale_factor=2, num_inference_steps=4)
    assert answer.status_code == 202, answer.text
    job_id = UUID(answer.json()["jobId"])
    creative = modal_app.Creative()
    creative.upscale.local(str(job_id))
    creative.parts.close()
    assert size_of(customer, job_id) == (32, 24)


def test_a_webhook_is_delivered(
    customer: Apiframe, origin: Origin, faithful: "modal_app.Faithful"
) -> None:
    answer = customer.post(
        "/images/upscale",
        json={
            "model": deployment.FAITHFUL.models[0],
            "topazUpscaleParams": {"image": f"{origin.url}/photo.png", "upscale_factor": "2"},
            "webhookUrl": f"{origin.url}/hook",
            "webhookEvents": ["completed"],
        },
    )
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["jobId"]
    faithful.upscale.local(job_id)
    couriers = modal_app.Couriers()
    couriers.deliver.local(f"deliveries#{job_id}", "completed")
    couriers.parts.close()
    assert [job_id in body.decode() for _, body in origin.received] == [True]


def test_the_sweep_hints_at_a_job_whose_hint_was_lost(
    customer: Apiframe,
    origin: Origin,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = customer.submitted(f"{origin.url}/photo.png", upscale_factor="2")
    see_hints_through(customer)
    caplog.clear()
    modal_app.sweep.local()
    assert caplog.messages == []  # within the grace
    later_ms = system_clock() + deployment.DISPATCH_GRACE_MS
    monkeypatch.setattr("handlers.wiring.system_clock", lambda: later_ms)
    modal_app.sweep.local()
    assert f"job {job_id}: {SPAWNED}" in caplog.text


def test_the_daily_function_deletes_what_is_past_its_time_and_audits_the_ledger(
    customer: Apiframe,
    origin: Origin,
    faithful: "modal_app.Faithful",
    caplog: pytest.LogCaptureFixture,
) -> None:
    job_id = customer.submitted(f"{origin.url}/photo.png", upscale_factor="2")
    job = kept_job(customer.service, job_id)
    faithful.upscale.local(str(job_id))
    objects = customer.service.services.objects
    assert read(objects, job.source.object_name) is not None
    kv = customer.service.services.kv
    kv.commit(Add(account_key(customer.customer.id), {"available": 1}))
    caplog.clear()
    modal_app.daily.local()
    assert "the ledger is off" in caplog.text
    assert read(objects, job.source.object_name) is None
    assert size_of(customer, job_id) == (32, 24)


@pytest.mark.usefixtures("environment")
def test_weights_are_filled_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    modal_app.fill_weights.local(names=BUILT_IN)
    assert "already here" in capsys.readouterr().out
    with pytest.raises(ModelUnknown, match="no-such"):
        modal_app.fill_weights.local(names=f"{BUILT_IN},no-such")


@pytest.mark.parametrize("name", ["ENLARGER_STORE_URL", "ENLARGER_OBJECTS_URL"])
@pytest.mark.usefixtures("environment")
def test_a_wrong_address_is_told_by_its_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "nowhere://at-all")
    with pytest.raises(SettingsError, match=name):
        modal_app.wire()


@pytest.mark.usefixtures("environment")
def test_inside_modal_nothing_is_kept_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_IS_REMOTE", "1")
    with pytest.raises(SettingsError, match="ENLARGER_STORE_URL"):
        modal_app.wire()


def test_every_tier_is_a_class_of_the_app() -> None:
    assert set(modal_app.TIERS) == {tier.name for tier in deployment.TIERS}
