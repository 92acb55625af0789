"""The settings: each variable, its default, and what is refused."""

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from billing.plans import Plan
from billing.pricing import Prices
from handlers.settings import Settings, SettingsError
from inference.params import CreativeOptions, Lora, Treatment
from inference.published import restoreformer
from storage.addresses import (
    DynamoAddress,
    FolderAddress,
    PostgresAddress,
    S3Address,
    SqliteAddress,
)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({"PATH": "/bin", "HOME": "/root"})
    assert settings == Settings()
    assert settings.store_address == SqliteAddress(Path("data/enlarger.sqlite"))
    assert settings.objects_address == FolderAddress(Path("data/objects"))
    assert settings.outbound_allow == ()
    assert settings.face_restorer is None
    assert settings.webhook_hmac_key == "raw"
    assert settings.prices == Prices()
    assert settings.treatment == Treatment(is_guarded=False, reports_quality=True)


@pytest.mark.parametrize(
    ("name", "said", "field", "value"),
    [
        ("DATA", "/srv/enlarger", "data", Path("/srv/enlarger")),
        ("DATA", "/srv/a", "store_address", SqliteAddress(Path("/srv/a/enlarger.sqlite"))),
        ("DATA", "/srv/a", "objects_address", FolderAddress(Path("/srv/a/objects"))),
        ("DATA", "/srv/enlarger", "weights_path", Path("/srv/enlarger/weights")),
        ("WEIGHTS", "/srv/weights", "weights_path", Path("/srv/weights")),
        ("STORE_URL", "sqlite:///srv/a.db", "store_address", SqliteAddress(Path("/srv/a.db"))),
        ("STORE_URL", "dynamodb://enlarger", "store_address", DynamoAddress("enlarger")),
        ("STORE_URL", "postgresql://h/db", "store_address", PostgresAddress("postgresql://h/db")),
        ("OBJECTS_URL", "file:///srv/files", "objects_address", FolderAddress(Path("/srv/files"))),
        ("OBJECTS_URL", "s3://bucket/a/b", "objects_address", S3Address("bucket", "a/b")),
        ("PUBLIC_URL", "https://up.example", "public_url", "https://up.example"),
        ("PUBLIC_URL", "http://up.example/", "public_url", "http://up.example"),
        ("OUTBOUND_ALLOW", "", "outbound_allow", ()),
        ("OUTBOUND_ALLOW", "10.0.0.0/8", "outbound_allow", (ip_network("10.0.0.0/8"),)),
        (
            "OUTBOUND_ALLOW",
            "127.0.0.1/32,fd00::/8",
            "outbound_allow",
            (ip_network("127.0.0.1/32"), ip_network("fd00::/8")),
        ),
        (
            "OUTBOUND_ALLOW",
            " 127.0.0.1/32, 10.0.0.0/8 ,",
            "outbound_allow",
            (ip_network("127.0.0.1/32"), ip_network("10.0.0.0/8")),
        ),
        ("FACE_RESTORER_SHA256", "ab" * 32, "face_restorer", restoreformer("ab" * 32)),
        ("CLARITY_CHECKPOINT", "/srv/m", "creative_options", CreativeOptions(Path("/srv/m"))),
        ("CLARITY_CHECKPOINT", "", "clarity_checkpoint", None),
        ("CLARITY_LORAS", "", "clarity_loras", ()),
        (
            "CLARITY_LORAS",
            "/srv/a=b.safetensors=0.5, /srv/c.safetensors=1",
            "clarity_loras",
            (Lora(Path("/srv/a=b.safetensors"), 0.5), Lora(Path("/srv/c.safetensors"), 1.0)),
        ),
        ("CLARITY_FEW_STEPS", "on", "creative_options", CreativeOptions(is_few_step=True)),
        ("CLARITY_UNGUIDED_STEPS", "2", "creative_options", CreativeOptions(unguided_steps=2)),
        ("CLARITY_COMPILE", "on", "creative_options", CreativeOptions(is_compiled=True)),
        ("WORKERS", "4", "workers", 4),
        ("WORKERS", "0", "workers", 0),
        ("LEASE_S", "12.5", "lease_s", 12.5),
        ("MAX_SOURCE_MEGAPIXELS", "20", "max_source_megapixels", 20),
        ("FIDELITY_GUARD", "on", "treatment", Treatment(is_guarded=True)),
        ("FIDELITY_GUARD", "off", "treatment", Treatment(is_guarded=False)),
        ("QUALITY_REPORT", "off", "treatment", Treatment(reports_quality=False)),
        ("METADATA", "keep", "treatment", Treatment(metadata="keep")),
        ("WEBHOOK_HMAC_KEY", "hex", "webhook_hmac_key", "hex"),
        ("LOGS", "json", "logs", "json"),
        ("METRICS_TOKEN", "0123456789abcdef", "metrics_token", "0123456789abcdef"),
    ],
)
def test_each_variable_sets_its_setting(name: str, said: str, field: str, value: Any) -> None:
    settings = Settings.from_environment({f"ENLARGER_{name}": said})
    assert getattr(settings, field) == value


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NONSENSE", "1"),
        ("STORE_PATH", "/srv"),
        ("STORE_URL", "mysql://host/db"),
        ("STORE_URL", "sqlite:relative"),
        ("STORE_URL", "/srv/a.sqlite"),
        ("OBJECTS_URL", "s3://"),
        ("OBJECTS_URL", "sqlite:///srv/files"),
        ("PUBLIC_URL", "up.example"),
        ("PUBLIC_URL", "ftp://up.example"),
        ("OUTBOUND_ALLOW", "10.0.0.1/8"),
        ("OUTBOUND_ALLOW", "localhost"),
        ("CLARITY_LORAS", "/srv/a.safetensors"),
        ("CLARITY_LORAS", "/srv/a.safetensors=much"),
        ("CLARITY_LORAS", "/srv/a.safetensors=nan"),
        ("CLARITY_LORAS", "=1"),
        ("CLARITY_UNGUIDED_STEPS", "-1"),
        ("WORKERS", "-1"),
        ("WORKERS", "65"),
        ("WORKERS", "two"),
        ("LEASE_S", "0"),
        ("LEASE_S", "nan"),
        ("MAX_SOURCE_MEGAPIXELS", "0"),
        ("WEBHOOK_HMAC_KEY", "base64"),
        ("LOGS", "xml"),
        ("METRICS_TOKEN", "0123456789abcde"),
        ("METRICS_TOKEN", ""),
        ("METRICS_TOKEN", "sixteen and spaces"),
        ("PRICES", "/nowhere/prices.json"),
        ("PLANS", "/nowhere/plans.json"),
    ],
)
def test_what_is_no_setting_is_refused_by_name_in_a_line(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"ENLARGER_{name}") as refusal:
        Settings.from_environment({f"ENLARGER_{name}": said})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "localhost"])
def test_a_network_that_is_none_is_told_once_and_by_its_variable(wrong: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment({"ENLARGER_OUTBOUND_ALLOW": f"127.0.0.1/32, {wrong}"})
    told = str(refusal.value)
    assert told.startswith("ENLARGER_OUTBOUND_ALLOW: ")
    assert wrong in told
    assert told.count("ENLARGER_") == 1


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"ENLARGER_WORKERS.*; ENLARGER_LEASE_S"):
        Settings.from_environment({"ENLARGER_WORKERS": "x", "ENLARGER_LEASE_S": "x"})


def test_a_plan_file_says_what_plans_there_are(tmp_path: Path) -> None:
    file = tmp_path / "plans.json"
    file.write_text('{"pro": {"requests_per_minute": 600, "max_in_flight": 7}}')
    plans = Settings.from_environment({"ENLARGER_PLANS": str(file)}).plans
    assert plans.named("pro") == Plan(requests_per_minute=600, max_in_flight=7)
    assert plans.default == Plan()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "cannot read"),
        ("[]", "plans"),
        ('{"pro": {"max_in_flight": 0}}', "plans.pro.max_in_flight"),
        ('{"pro": {"nonsense": 1}}', "plans.pro.nonsense"),
    ],
)
def test_a_wrong_plan_file_is_refused_by_its_place(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "plans.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match=f"ENLARGER_PLANS: .*{place}"):
        Settings.from_environment({"ENLARGER_PLANS": str(file)})


def test_a_price_file_says_what_differs(tmp_path: Path) -> None:
    said = {"clarity_credits": 5, "vicsee_credits": {"1": 1, "2": 2, "4": 4, "8": 8}}
    settings = _with_prices(tmp_path, json.dumps(said))
    assert settings.prices.clarity() == 5
    assert [settings.prices.vicsee(factor) for factor in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert settings.prices.topaz_tiers == Prices().topaz_tiers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        '{"nonsense": 1}',
        '{"clarity_credits": 0}',
        '{"clarity_credits": "many"}',
        '{"topaz_tiers": []}',
        '{"topaz_tiers": [{"megapixels": 2, "credits": 1}, {"megapixels": 1, "credits": 2}]}',
        '{"vicsee_credits": {"1": 1}}',
    ],
)
def test_a_price_file_that_cannot_be_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="ENLARGER_PRICES") as refusal:
        _with_prices(tmp_path, text)
    assert "\n" not in str(refusal.value)


def test_a_wrong_price_is_told_by_the_variable_and_its_place_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^ENLARGER_PRICES: clarity_credits: "):
        _with_prices(tmp_path, '{"clarity_credits": "many"}')


def _with_prices(folder: Path, text: str) -> Settings:
    file = folder / "prices.json"
    file.write_text(text)
    return Settings.from_environment({"ENLARGER_PRICES": str(file)})


REMOTE = {"MODAL_IS_REMOTE": "1"}
SHARED_STORE = {"ENLARGER_STORE_URL": "dynamodb://enlarger"}
SHARED_OBJECTS = {"ENLARGER_OBJECTS_URL": "s3://bucket"}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({}, "STORE_URL"),
        (SHARED_OBJECTS, "STORE_URL"),
        ({"ENLARGER_STORE_URL": "sqlite:///srv/a.db"} | SHARED_OBJECTS, "STORE_URL"),
        (SHARED_STORE, "OBJECTS_URL"),
        ({"ENLARGER_OBJECTS_URL": "file:///srv/files"} | SHARED_STORE, "OBJECTS_URL"),
    ],
)
def test_in_a_container_nothing_is_kept_on_its_disk(said: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=f"ENLARGER_{name}: containers share no disk"):
        Settings.from_environment(REMOTE | said)


def test_in_a_container_shared_stores_are_taken() -> None:
    settings = Settings.from_environment(REMOTE | SHARED_STORE | SHARED_OBJECTS)
    assert settings.store_address == DynamoAddress("enlarger")


def test_a_url_that_is_refused_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment({"ENLARGER_STORE_URL": "mysql://ada:secret@host/db"})
    assert "secret" not in str(refusal.value)
