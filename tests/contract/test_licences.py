"""On what terms the packages are that images hold."""

from typing import Final

import pytest

from tests.support import package_licences

# Neither the GPL nor the LGPL nor the AGPL; the MPL binds its own files only.
_TAKEN: Final = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Zlib",
}


def test_the_page_names_every_package_with_its_terms() -> None:
    assert package_licences.PAGE.read_text() == package_licences.page(), "run `make licences`"


@pytest.mark.parametrize("name", package_licences.packages())
def test_the_terms_of_a_package_can_be_kept(name: str) -> None:
    assert may_be_taken(package_licences.terms(name)), package_licences.terms(name)


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-or-later", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only", False),
        ("MIT AND LGPL-2.1-or-later", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("AGPL-3.0-only OR GPL-2.0-only", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("", False),
    ],
)
def test_only_what_is_listed_is_taken(expression: str, *, taken: bool) -> None:
    assert may_be_taken(expression) is taken


def may_be_taken(expression: str) -> bool:
    return any(terms <= _TAKEN for terms in package_licences.alternatives(expression))
