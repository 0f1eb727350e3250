"""What is said of key objects and of a text report."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from darkroom_api.objects.spec import MOST_IMAGES, Given, Said, Uid
from darkroom_common.specs.remote import LongText

Words = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=16_000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
    ),
]
TITLES: Final = {
    "of-interest": "OfInterest",
    "best-in-set": "BestInSet",
    "for-conference": "ForConference",
    "for-diagnosis": "ForDiagnosis",
    "for-patient": "ForPatient",
    "for-printing": "ForPrinting",
    "for-peer-review": "ForPeerReview",
    "for-referring-provider": "ForReferringProvider",
    "for-report-attachment": "ForReportAttachment",
    "for-research": "ForResearch",
    "for-surgery": "ForSurgery",
    "for-teaching": "ForTeaching",
    "for-therapy": "ForTherapy",
}
"""Titles of key objects, and the names of their codes (PS3.16 CID 7010)."""
HEADINGS: Final = {
    "addendum": "Addendum",
    "comparison": "PriorProcedureDescriptions",
    "conclusions": "Conclusions",
    "findings": "Findings",
    "history": "History",
    "impressions": "Impressions",
    "recommendations": "Recommendations",
    "request": "Request",
}
"""Headings of sections, and the names of their codes (CID 7001)."""


class KeyObjectsGiven(Given):
    """What is said of a selection of key objects."""

    images: list[Uid] = Field(
        min_length=1, max_length=MOST_IMAGES, description="SOP instance UIDs of the study"
    )
    title: Literal[
        "of-interest",
        "best-in-set",
        "for-conference",
        "for-diagnosis",
        "for-patient",
        "for-printing",
        "for-peer-review",
        "for-referring-provider",
        "for-report-attachment",
        "for-research",
        "for-surgery",
        "for-teaching",
        "for-therapy",
    ] = "of-interest"
    description: Words | None = Field(default=None, description="why they were chosen")

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "KO"

    def instances(self) -> Sequence[str]:
        """Return the SOP instance UIDs that it refers to."""
        return list(dict.fromkeys(self.images))


class Section(Said):
    """A part of a report under its heading."""

    heading: Literal[
        "addendum",
        "comparison",
        "conclusions",
        "findings",
        "history",
        "impressions",
        "recommendations",
        "request",
    ]
    text: Words
    images: list[Uid] = Field(default_factory=list, max_length=MOST_IMAGES)


class TextReportGiven(Given):
    """What is said of a report in words; it is complete, and verified by nobody."""

    title: LongText = Field(default="", description="in words; left out: Diagnostic imaging report")
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")] = Field(
        default="en", description="of the words, by RFC 5646"
    )
    author: LongText = Field(default="", description="as a person name")
    sections: list[Section] = Field(min_length=1, max_length=50)

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "SR"

    def instances(self) -> Sequence[str]:
        """Return the SOP instance UIDs that it refers to."""
        return list(dict.fromkeys(one for part in self.sections for one in part.images))
