"""A spool that one process hands over to another, while both receive into it."""

from pathlib import Path

import pytest

from darkroom_common.errors import ConfigurationError
from darkroom_common.objects.spool import Spool


def test_another_process_is_refused_unless_it_joins(tmp_path: Path) -> None:
    first = Spool(tmp_path)
    with pytest.raises(ConfigurationError, match="another process uses it"):
        Spool(tmp_path)
    first.close()
    Spool(tmp_path).close()


def test_only_one_has_it_at_a_time(tmp_path: Path) -> None:
    old = Spool(tmp_path)
    new = Spool(tmp_path, joins=True)
    assert (old.is_owned, new.is_owned, new.own()) == (True, False, False)
    old.disown()
    assert new.own()
    assert not old.own()
    new.close()
    assert old.own()
    old.close()


def test_what_the_other_is_writing_stays(tmp_path: Path) -> None:
    old = Spool(tmp_path)
    of_old = Spool(tmp_path, worker=f"{old.run}/0")
    incoming = of_old.begin()
    of_old.write(incoming, b"half")
    new = Spool(tmp_path, joins=True)
    of_new = Spool(tmp_path, worker=f"{new.run}/0")
    of_old.write(incoming, b" and half")
    of_old.commit(incoming)
    assert new.path(incoming.receipt_id).read_bytes() == b"half and half"
    assert new.waiting() == [incoming.receipt_id]
    for one in (of_old, of_new, old, new):
        one.close()


def test_what_a_dead_run_was_writing_goes(tmp_path: Path) -> None:
    dead = Spool(tmp_path)
    of_dead = Spool(tmp_path, worker=f"{dead.run}/0")
    of_dead.write(of_dead.begin(), b"never answered")
    dead.close()  # as the kernel does when it is killed
    earlier = tmp_path / "tmp" / "3"  # as releases before this had them
    earlier.mkdir()
    (earlier / "half").write_bytes(b"")
    (tmp_path / "tmp" / "old").write_bytes(b"")
    Spool(tmp_path, joins=True).close()
    assert [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()] == []
    assert len(list((tmp_path / "tmp").iterdir())) == 1
