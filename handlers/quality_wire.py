"""How both dialects show a quality report: one member more than their contracts name."""

from typing import Annotated

from pydantic import BaseModel, Field

from inference.quality import Quality


class QualityReport(BaseModel):
    """The finished picture, reduced again, against its source.

    `deltaE` is the drift in colour (CIEDE2000). `seamScore` is 1 where seams do not show, and null
    where there is none.
    """

    psnrDb: float
    ssim: float
    deltaE: float
    seamScore: float | None


Reported = Annotated[QualityReport | None, Field(exclude_if=lambda report: report is None)]
"""A report, or no member at all."""


def shown_quality(quality: Quality | None) -> QualityReport | None:
    """A report in figures that mean something; none where none was asked for."""
    if quality is None:
        return None
    seam_score = quality.seam_score
    return QualityReport(
        psnrDb=round(quality.psnr_db, 2),
        ssim=round(quality.ssim, 4),
        deltaE=round(quality.delta_e, 3),
        seamScore=None if seam_score is None else round(seam_score, 3),
    )
