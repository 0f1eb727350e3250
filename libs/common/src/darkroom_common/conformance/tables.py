"""The tables of the conformance statement, in the order of PS3.2 annex N."""

from dataclasses import dataclass
from typing import Final

OVERVIEW: Final = "Overview"
CONTENTS: Final = "Table of contents"
INTRODUCTION: Final = "Introduction"
MODEL: Final = "Implementation model"
SERVICES: Final = "Service and interoperability description"
CONFIGURATION: Final = "Configuration"
NETWORK: Final = "Network and media communication details"
SECURITY: Final = "Security"
OBJECTS: Final = "Annex: information object definitions"
SECTIONS: Final = (
    OVERVIEW,
    CONTENTS,
    INTRODUCTION,
    MODEL,
    SERVICES,
    CONFIGURATION,
    NETWORK,
    SECURITY,
    OBJECTS,
)
"""In the order of annex N; the second and the third are text alone."""


@dataclass(frozen=True)
class TableForm:
    """A table without its lines.

    Attributes:
        section: one of `SECTIONS`.
        columns: none: what is said about it is all.
        about: a sentence or two before it.
        number: that annex N gives it; empty: the next of its section.
    """

    section: str
    title: str
    columns: tuple[str, ...]
    about: str = ""
    number: str = ""


TABLES: Final[dict[str, TableForm]] = {
    "storage": TableForm(
        OVERVIEW,
        "Storage SOP classes",
        ("SOP class", "UID", "Remark"),
        "Objects of all of them are received (SCP), sent (SCU), and handed out by C-GET and"
        " WADO-RS, in each transfer syntax of the table below network and media communication.",
        number="1.1",
    ),
    "templates": TableForm(
        OVERVIEW,
        "Root templates of structured reports",
        ("Template", "Name", "SOP class", "Made or read"),
        "Templates are those of PS3.16. Reports of every template are received and sent as they"
        " are; what is made here is of these.",
        number="1.1.1",
    ),
    "services": TableForm(
        OVERVIEW,
        "DICOM services",
        ("Service", "SOP class", "UID", "Role", "Operations"),
        "SCP: others ask Darkroom. SCU: Darkroom asks others.",
        number="1.2",
    ),
    "web": TableForm(
        OVERVIEW,
        "DICOM web services, as origin server",
        ("Service", "Method", "Resource", "Answers", "Takes"),
        "Resources are below /dicom-web. Answers and bodies are of these media types.",
        number="1.3",
    ),
    "media": TableForm(
        OVERVIEW,
        "Media services",
        (),
        "None: no media are written or read (PS3.10, PS3.11), and there are no application"
        " profiles.",
        "1.4",
    ),
    "video": TableForm(OVERVIEW, "Real-time video service", (), "None (PS3.22).", "1.5"),
    "deidentification": TableForm(
        OVERVIEW,
        "De-identification profiles (PS3.15 annex E)",
        ("Profile or option", "Code", "Where", "In this configuration"),
        number="1.6",
    ),
    "characters": TableForm(
        OVERVIEW,
        "Specific character sets (0008,0005)",
        ("Defined term", "With code extensions", "Read", "Written"),
        "Text is kept as it came. Answers are in the set of whoever asks where it has all of the"
        " text, else in the next larger one, at last in ISO_IR 192.",
        number="1.7",
    ),
    "entities": TableForm(
        MODEL, "Application entities", ("Application entity", "AE title", "Port", "What it does")
    ),
    "query": TableForm(
        SERVICES,
        "Attributes of C-FIND, as SCP",
        ("Level", "Attribute", "Tag", "VR", "Matched", "Returned"),
        "Matching by single value, list of UIDs, range, wild card and universal as the VR allows"
        " (PS3.4 section C.2.2.2). QIDO-RS has the same, and (0008,3002) and (0008,0201) beside.",
    ),
    "query_scu": TableForm(
        SERVICES,
        "Attributes that are asked of other nodes, as SCU of C-FIND",
        ("Information model", "Level", "Attribute", "Tag", "Use"),
    ),
    "worklist": TableForm(
        SERVICES,
        "Attributes of the modality worklist, as SCP",
        ("Attribute", "Tag", "VR", "Matched", "Returned"),
    ),
    "steps": TableForm(
        SERVICES,
        "Attributes of performed procedure steps (MPPS)",
        ("Role", "Attribute", "Tag", "N-CREATE", "N-SET"),
        "As SCP every other attribute is kept and handed out as it came.",
    ),
    "print": TableForm(
        SERVICES,
        "Attributes of print management, as SCU",
        ("SOP class", "Operation", "Attribute", "Tag", "Value"),
    ),
    "commitment": TableForm(
        SERVICES, "Storage commitment and notices", ("Service", "Role", "What is done")
    ),
    "statuses": TableForm(SERVICES, "Status codes, as SCP", ("Operation", "Status", "When")),
    "heeded": TableForm(
        SERVICES, "Status codes that others answer, as SCU", ("Operation", "Status", "What is done")
    ),
    "settings": TableForm(
        CONFIGURATION,
        "What can be configured of that",
        ("Parameter", "Value", "By default", "Meaning"),
    ),
    "syntaxes": TableForm(
        NETWORK,
        "Transfer syntaxes",
        ("Transfer syntax", "UID", "Received", "Written"),
        "Received: it is stored and sent on as it is. Written: what is stored is made over to it"
        " where somebody takes nothing else.",
    ),
    "contexts": TableForm(
        NETWORK,
        "Presentation contexts, as acceptor of associations",
        ("Port", "SOP class", "UID", "Transfer syntaxes", "Requestor may be", "Extended"),
        "Of several transfer syntaxes of one context, the first of these that is offered is taken.",
    ),
    "proposals": TableForm(
        NETWORK,
        "Presentation contexts, as requestor of associations",
        ("Activity", "SOP class", "UID", "Transfer syntaxes", "We are"),
    ),
    "association": TableForm(NETWORK, "Associations", ("Application entity", "Property", "Value")),
    "security": TableForm(
        SECURITY,
        "Security profiles (PS3.15) and what else protects",
        ("Profile or mechanism", "Where", "In this configuration"),
    ),
    "objects": TableForm(
        OBJECTS,
        "Objects that are made here",
        ("Kind", "SOP class", "UID", "Made of"),
        "Each is held against the standard before it is stored; one with an error is refused.",
    ),
}
