"""The credits of the weights, `/v2/credits-notice`: whose they are, and under which licence."""

from collections.abc import Iterable

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel

from handlers.apiframe_wire import Problem
from handlers.auth import ServicesOf
from inference.catalogue import in_use
from inference.provenance import LICENCES, Weights
from inference.published import ALL

BUILT_IN_SOURCE = "It ships with the code"

credits_notice = APIRouter(responses={"4XX": {"model": Problem}})


class Notice(BaseModel):
    """The credit for one file of weights; `in_use` says whether it serves anything here, now."""

    id: str
    name: str
    licence: str
    licence_url: str
    attribution: str
    source: str
    revision: str
    in_use: bool


class CreditsNotice(BaseModel):
    """The credits for every file of weights that may be in use, those that are first."""

    notices: list[Notice]


@credits_notice.get(
    "/credits-notice",
    response_model=CreditsNotice,
    responses={
        200: {
            "description": "JSON; to `Accept: text/plain`, the notices of what is in use as text",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def notice(request: Request, services: ServicesOf) -> CreditsNotice | Response:
    """The credits and licences of the networks that serve here, as their authors ask for them."""
    used = in_use(
        services.weights_folder, restorer=services.face_restorer, creative=services.creative
    )
    restorer = () if services.face_restorer is None else (services.face_restorer,)
    notices = [_noticed(weights, is_used=weights in used) for weights in (*ALL, *restorer)]
    notices.sort(key=lambda each: not each.in_use)
    if _wants_text(request.headers.get("accept", "")):
        return PlainTextResponse(_text(each for each in notices if each.in_use))
    return CreditsNotice(notices=notices)


def _noticed(weights: Weights, *, is_used: bool) -> Notice:
    return Notice(
        id=weights.id,
        name=weights.file,
        licence=weights.licence,
        licence_url=LICENCES[weights.licence],
        attribution=weights.attribution,
        source=weights.url or BUILT_IN_SOURCE,
        revision=weights.revision,
        in_use=is_used,
    )


def _text(notices: Iterable[Notice]) -> str:
    return "\n".join(
        f"{each.name}\n  {each.attribution}\n  {each.licence}, {each.licence_url}\n"
        for each in notices
    )


def _wants_text(accept: str) -> bool:
    """Whether text is named and JSON is not; weights of preference are not compared."""
    named = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "text/plain" in named and not named & {"application/json", "application/*"}
