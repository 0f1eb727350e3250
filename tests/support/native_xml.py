"""Reads documents of the Native DICOM Model (PS3.19 A.1) that Darkroom has made."""

import email
from xml.etree.ElementTree import Element, fromstring

import httpx


def read_xml(text: bytes) -> Element:
    """Return the root of a document."""
    return fromstring(text)


def multipart_xml(answer: httpx.Response) -> list[Element]:
    """Return the documents of a multipart answer, each a part."""
    assert answer.status_code == 200, answer.text
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    found = email.message_from_bytes(head + answer.content)
    assert found.get_content_type() == "multipart/related"
    assert found.get_param("type") == "application/dicom+xml"
    made = []
    for part in found.walk():
        if not part.is_multipart():
            assert part.get_content_type() == "application/dicom+xml"
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            made.append(read_xml(content))
    return made
