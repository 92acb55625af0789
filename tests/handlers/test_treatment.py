"""What the operator decides for every picture goes into each job, whatever the dialect."""

from pathlib import Path
from uuid import UUID

import pytest

from handlers.settings import Settings
from inference.catalogue import CLARITY, TOPAZ
from inference.params import Treatment
from tests.handlers.clients import Apiframe, VicSee, kept_job
from tests.running import running

OTHER = {"ENLARGER_FIDELITY_GUARD": "on", "ENLARGER_QUALITY_REPORT": "off"}


@pytest.mark.parametrize("environment", [{}, OTHER])
def test_jobs_of_every_route_are_treated_as_the_settings_say(
    tmp_path: Path, environment: dict[str, str], photo: str
) -> None:
    treatment = Settings.from_environment(environment).treatment
    models = frozenset({TOPAZ.id, CLARITY.id})
    with running(tmp_path, models=models, treatment=treatment) as service:
        account = service.account()
        apiframe, vicsee = Apiframe(service, account), VicSee(service, account)
        ids = [
            apiframe.submitted(photo),
            UUID(apiframe.clarity(photo).json()["jobId"]),
            UUID(vicsee.submitted(photo).removeprefix("task_")),
        ]
        for job_id in ids:
            kept = kept_job(service, job_id).params
            assert {name: getattr(kept, name) for name in Treatment.model_fields} == (
                treatment.model_dump()
            )
