"""What is said of the networks that serve: in the credits, and where the models are listed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.catalogue import TOPAZ, needed
from inference.published import (
    ALL,
    CLEAN,
    GENERAL,
    GENERAL_WDN,
    PHOTO,
    SECOND_PASS,
    WEB_PHOTO,
    X2PLUS,
    X4PLUS,
    YUNET,
    restoreformer,
)
from tests.running import Running, running
from tests.weights import present


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """A service with a folder of weights of its own, without any."""
    with running(tmp_path) as started:
        yield started


def in_use(service: Running) -> set[str]:
    notices = service.http.get("/v2/credits-notice").json()["notices"]
    return {notice["id"] for notice in notices if notice["in_use"]}


def topaz_description(service: Running) -> str:
    models = service.http.get("/v2/models").json()["models"]
    return str(next(each["description"] for each in models if each["id"] == TOPAZ.id))


def test_the_credits_name_every_file_with_author_licence_and_source(service: Running) -> None:
    notices = service.http.get("/v2/credits-notice").json()["notices"]
    assert {notice["id"] for notice in notices} == {weights.id for weights in ALL}
    (hofmann,) = [notice for notice in notices if notice["id"] == WEB_PHOTO.id]
    assert hofmann == {
        "id": "4xnomoswebphoto-realplksr",
        "name": "4xNomosWebPhoto_RealPLKSR.pth",
        "licence": "CC-BY-4.0",
        "licence_url": "https://creativecommons.org/licenses/by/4.0/",
        "attribution": WEB_PHOTO.attribution,
        "source": WEB_PHOTO.url,
        "revision": "4xNomosWebPhoto_RealPLKSR",
        "in_use": False,
    }
    assert "Philip Hofmann" in hofmann["attribution"]


def test_only_what_is_pulled_is_in_use_besides_the_built_in_networks(service: Running) -> None:
    built_in = {weights.id for weights in (*PHOTO, *CLEAN, SECOND_PASS)}
    assert in_use(service) == built_in
    present(GENERAL, GENERAL_WDN, folder=service.services.weights_folder)
    assert in_use(service) == built_in | {GENERAL.id, GENERAL_WDN.id}


def test_what_restores_faces_is_credited_once_an_operator_has_chosen_it(tmp_path: Path) -> None:
    restorer = restoreformer("ab" * 32)
    with running(tmp_path, face_restorer=restorer) as service:
        present(YUNET, folder=service.services.weights_folder)
        assert not {YUNET.id, restorer.id} & in_use(service)
        present(restorer, folder=service.services.weights_folder)
        assert {YUNET.id, restorer.id} <= in_use(service)


def test_what_is_in_use_comes_first(service: Running) -> None:
    present(X4PLUS, folder=service.services.weights_folder)
    notices = service.http.get("/v2/credits-notice").json()["notices"]
    used = [notice["in_use"] for notice in notices]
    assert used == sorted(used, reverse=True)


def test_the_credits_are_text_for_who_asks_for_text(service: Running) -> None:
    present(X4PLUS, folder=service.services.weights_folder)
    answer = service.http.get("/v2/credits-notice", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert X4PLUS.attribution in answer.text
    assert WEB_PHOTO.attribution not in answer.text
    for accept in ("*/*", "application/json, text/plain;q=0.5"):
        answer = service.http.get("/v2/credits-notice", headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/json"


def test_without_a_download_the_model_says_that_the_built_in_network_serves(
    service: Running,
) -> None:
    said = topaz_description(service)
    assert "standard-v2, low-res-v2, cgi, high-fidelity-v2, text-refine, redefine by the" in said
    assert "built-in network, while its own weights are not installed" in said


def test_the_model_says_which_slots_have_their_own_networks(service: Running) -> None:
    present(*needed(TOPAZ.slots["cgi"]), X2PLUS, folder=service.services.weights_folder)
    said = topaz_description(service)
    assert "cgi by realesrgan-x4plus-anime-6b" in said
    assert "standard-v2 by realesrgan-x2plus (x1, x4, x6, x8: the built-in network)" in said
    assert "redefine by the built-in network" in said
