"""Character sets of what we write ourselves (PS3.3 section C.12.1.1.2)."""


def character_set(*texts: str) -> str:
    """Return the Specific Character Set for texts; empty for the default repertoire."""
    joined = "".join(texts)
    if joined.isascii():
        return ""
    try:
        joined.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"
