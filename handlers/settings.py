"""The settings: one typed object, read from `ENLARGER_…` variables and nowhere else."""

import json
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from billing.packs import USUAL_PACKS, Packs
from billing.plans import SELF_HOSTED, Plans
from billing.pricing import Prices
from handlers.logs import LogFormat
from inference.params import CreativeOptions, DeviceName, Lora, MetadataPolicy, Treatment
from inference.provenance import Weights
from inference.published import restoreformer
from storage.addresses import (
    FolderAddress,
    ObjectsAddress,
    SqliteAddress,
    StoreAddress,
    objects_address,
    store_address,
)

PREFIX = "ENLARGER_"
_REMOTE = "MODAL_IS_REMOTE"
"""What Modal sets in its containers: they share no disk, so nothing may be kept on one."""


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be; the message names it."""


class Settings(BaseModel):
    """Every setting, with its default. Addresses are URLs; sizes are in millions of pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Path("data")
    """The folder of the SQLite file and of the pictures, where nothing else is said."""

    store_url: str | None = None
    """The key-value store: `sqlite:///<path>`, `dynamodb://<table>?region=<region>` or
    `postgresql://…`. By default a file in the data folder."""

    objects_url: str | None = None
    """The object store: `file:///<path>` or `s3://<bucket>/<prefix>?endpoint=<url>`. By default a
    folder in the data folder."""

    public_url: str | None = None
    """The address that links carry; by default the one that `serve` listens on."""

    weights: Path | None = None
    """The folder of the weights that were pulled. By default `weights` in the data folder."""

    face_restorer_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """The SHA-256 of `RestoreFormer++.ckpt`, which restores faces once it is among the weights."""

    clarity_checkpoint: Path | None = None
    """Clarity's diffusion model: a folder in diffusers' layout or a `.safetensors` file of Stable
    Diffusion 1.5's shapes, in the place of the catalogue's."""

    clarity_loras: tuple[Lora, ...] = ()
    """LoRAs that are fused into it: `<path>=<weight>`, by commas."""

    clarity_few_steps: bool = False
    """Whether Clarity takes eight steps at most, with the catalogue's LCM LoRA."""

    clarity_unguided_steps: int = Field(default=0, ge=0, le=100)
    """How many of each pass's last steps Clarity does without guidance, at half the work."""

    clarity_compile: bool = False
    """Whether torch compiles Clarity's networks: minutes at first."""

    outbound_allow: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that source and webhook addresses may lie in besides public ones, by commas."""

    device: DeviceName = "auto"
    """What enlarges: `cpu`, `cuda`, or `auto`, which takes a CUDA card where there is one."""

    workers: int = Field(default=1, ge=0, le=64)
    """Threads that enlarge; 0 leaves the jobs to another process on the same data."""

    lease_s: float = Field(default=30.0, ge=1, le=3600)
    """How long a silent worker keeps a job."""

    retention_days: int = Field(default=90, ge=0, le=90)
    """How many days results are kept, unless a request says fewer; 0 is an hour."""

    max_source_megapixels: int = Field(default=100, ge=1, le=1000)
    """The largest picture taken in."""

    metadata: MetadataPolicy = "strip_gps"
    """What of a source's EXIF and XMP goes into its result: `keep`, `strip` or `strip_gps`."""

    fidelity_guard: bool = False
    """Whether every result is corrected until, reduced again, it matches its source."""

    quality_report: bool = True
    """Whether every job says how well its result, reduced again, matches its source."""

    webhook_hmac_key: Literal["raw", "hex"] = "raw"
    """How receivers read the key of Apiframe's signature: 32 bytes, or 64 hex characters."""

    logs: LogFormat = "text"
    """How the log is written: `text`, or `json`, one object a line."""

    metrics_token: str | None = Field(
        default=None, min_length=16, max_length=512, pattern=r"^[!-~]*$", repr=False
    )
    """What `/metrics` is asked with, as a Bearer token. By default there is no `/metrics`."""

    prices: Prices = Prices()
    """The price list; the variable names a JSON file with what differs from the default."""

    plans: Plans = SELF_HOSTED
    """What accounts may do; the variable names a JSON file with plans by their names."""

    packs: Packs = USUAL_PACKS
    """What credits are sold in; the variable names a JSON file with packs by their ids."""

    stripe_key: str | None = Field(default=None, pattern=r"^[!-~]{8,500}$", repr=False)
    """Stripe's secret key. By default nothing is sold."""

    stripe_webhook_secret: str | None = Field(default=None, pattern=r"^[!-~]{8,500}$", repr=False)
    """What Stripe signs its events with, `whsec_…`."""

    stripe_api: str | None = Field(default=None, pattern=r"^https?://")
    """The address of Stripe's API, where it is not Stripe's own."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the variables that begin with `ENLARGER_`; `SettingsError` names a wrong one."""
        said = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        try:
            settings = cls.model_validate(said)
        except ValidationError as error:
            problems = [_problem(details) for details in error.errors()]
            raise SettingsError("; ".join(problems)) from error
        if environment.get(_REMOTE) == "1":
            settings.check_shared()
        return settings

    def check_shared(self) -> None:
        """Raise `SettingsError` if the store or the objects are on this machine's own disk."""
        if isinstance(self.store_address, SqliteAddress):
            raise SettingsError(
                f"{PREFIX}STORE_URL: containers share no disk, so SQLite would lose everything; "
                "name a dynamodb:// table or a postgresql:// database"
            )
        if isinstance(self.objects_address, FolderAddress):
            raise SettingsError(
                f"{PREFIX}OBJECTS_URL: containers share no disk, so a folder would lose "
                "everything; name an s3:// bucket"
            )

    def public_url_at(self, host: str, port: int) -> str:
        """The address that links carry when the service listens on `host` and `port`."""
        everywhere = host in ("0.0.0.0", "::", "")
        return self.public_url or f"http://{'localhost' if everywhere else host}:{port}"

    @property
    def max_source_pixels(self) -> int:
        """The largest picture taken in, in pixels."""
        return self.max_source_megapixels * 1_000_000

    @property
    def treatment(self) -> Treatment:
        """What every picture gets."""
        return Treatment(
            metadata=self.metadata,
            is_guarded=self.fidelity_guard,
            reports_quality=self.quality_report,
        )

    @property
    def face_restorer(self) -> Weights | None:
        """What restores faces; None unless the hash of its file is stated."""
        sha256 = self.face_restorer_sha256
        return None if sha256 is None else restoreformer(sha256)

    @property
    def creative_options(self) -> CreativeOptions:
        """How Clarity works."""
        return CreativeOptions(
            checkpoint=self.clarity_checkpoint,
            loras=self.clarity_loras,
            is_few_step=self.clarity_few_steps,
            unguided_steps=self.clarity_unguided_steps,
            is_compiled=self.clarity_compile,
        )

    @property
    def store_address(self) -> StoreAddress:
        """The key-value store."""
        if self.store_url is None:
            return SqliteAddress(self.data / "enlarger.sqlite")
        return store_address(self.store_url)

    @property
    def objects_address(self) -> ObjectsAddress:
        """The object store."""
        if self.objects_url is None:
            return FolderAddress(self.data / "objects")
        return objects_address(self.objects_url)

    @property
    def weights_path(self) -> Path:
        """Where the weights are that were pulled."""
        return self.weights or self.data / "weights"

    @field_validator("outbound_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [ip_network(part.strip()) for part in value.split(",") if part.strip()]

    @field_validator("clarity_checkpoint", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return value or None  # an empty path would be the folder that we are in

    @field_validator("clarity_loras", mode="before")
    @classmethod
    def _weighed(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        said = [part.strip() for part in value.split(",") if part.strip()]
        for part in said:
            if part.find("=") < 1:
                raise ValueError(f"{part} is not <path>=<weight>")
        return [dict(zip(Lora._fields, part.rsplit("=", 1), strict=True)) for part in said]

    @field_validator("prices", "plans", "packs", mode="before")
    @classmethod
    def _read(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        try:
            loaded: dict[str, Any] = json.loads(Path(value).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {value}: {error}") from error
        return {info.field_name: loaded} if info.field_name in ("plans", "packs") else loaded

    @field_validator("packs")
    @classmethod
    def _of_known_plans(cls, packs: Packs, info: ValidationInfo) -> Packs:
        plans: Plans | None = info.data.get("plans")  # absent if they cannot be read
        sold = {pack.plan for pack in packs.packs.values() if pack.plan is not None}
        unknown = sorted(sold - plans.plans.keys()) if plans else []
        if unknown:
            raise ValueError(f"there is no plan {', '.join(unknown)} in {PREFIX}PLANS")
        return packs

    @field_validator("store_url", "objects_url")
    @classmethod
    def _readable(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            (store_address if info.field_name == "store_url" else objects_address)(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return None if value is None else value.rstrip("/")


def _problem(details: Any) -> str:
    variable, *inside = details["loc"]
    name = f"{PREFIX}{variable}".upper()
    if details["type"] == "extra_forbidden" and not inside:
        return f"{name} is not a setting"
    place = f"{'.'.join(map(str, inside))}: " if inside else ""
    return f"{name}: {place}{details['msg']}"
