"""The services behind the web app: what they are made of, in one place."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from billing.pricing import Prices
from jobs.dispatch import Dispatcher
from jobs.ids import Clock, new_job_id
from jobs.links import Links
from jobs.outbound import Outbound
from jobs.sources import Sources
from jobs.submission import Submissions
from jobs.uploads import Uploads
from storage.kv import KeyValue
from storage.objects import Objects


@dataclass(frozen=True)
class Services:
    """Everything that a request may need."""

    kv: KeyValue
    objects: Objects
    outbound: Outbound
    links: Links
    clock: Clock
    prices: Prices
    models: Collection[str]
    uploads: Uploads
    submissions: Submissions


def compose(
    *,
    kv: KeyValue,
    objects: Objects,
    outbound: Outbound,
    dispatcher: Dispatcher,
    clock: Clock,
    public_url: str,
    prices: Prices,
    models: Collection[str],
    max_source_pixels: int,
    dispatch_grace_ms: int,
    job_ids: Callable[[int], UUID] = new_job_id,
) -> Services:
    """Put the services together from the stores, the world outside, and the settings.

    `models` are those whose weights are installed.
    """
    links = Links(public_url)
    uploads = Uploads(kv, objects, links, clock, max_source_pixels)
    sources = Sources(kv, objects, uploads, outbound, links, clock)
    submissions = Submissions(
        kv=kv,
        objects=objects,
        sources=sources,
        dispatcher=dispatcher,
        models=models,
        clock=clock,
        new_job_id=job_ids,
        max_source_pixels=max_source_pixels,
        dispatch_grace_ms=dispatch_grace_ms,
    )
    return Services(
        kv=kv,
        objects=objects,
        outbound=outbound,
        links=links,
        clock=clock,
        prices=prices,
        models=models,
        uploads=uploads,
        submissions=submissions,
    )
