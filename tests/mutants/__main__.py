"""`make mutants`: change the core one safeguard at a time, and say what the tests did not see.

python -m tests.mutants                     the whole sample, and the rows of docs/mutants.md
python -m tests.mutants --only jobs/table   some modules, and their rows
python -m tests.mutants --again             the survivors of those rows alone, after tests have come
python -m tests.mutants --quick             the named ones of tests/mutants/named.py, for CI
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from tests.mutants.core import CORE
from tests.mutants.equivalent import table, without_equivalents
from tests.mutants.named import NAMED
from tests.mutants.operators import Mutant, mutants
from tests.mutants.page import named, page_with, page_with_not_drawn, score, survivors, without_line
from tests.mutants.running import CAUGHT, ROOT, SURVIVED, TIMED_OUT, Runner, Task, Verdict, warm

PAGE: Final = ROOT / "docs/mutants.md"
_FIRST: Final = 300.0
"""Seconds that the tests of a module may take when nothing is changed."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the named mutants alone")
    parser.add_argument("--again", action="store_true", help="what has survived alone")
    parser.add_argument("--only", default="", help="modules whose path has this, | between several")
    parser.add_argument("--most", type=int, default=12, help="mutants of a module")
    parser.add_argument("--skip", type=int, default=0, help="mutants of a module to pass over")
    parser.add_argument("--slots", type=int, default=2, help="at once")
    return parser.parse_args()


def _there(tests: Sequence[str]) -> list[str]:
    return [test for test in tests if (ROOT / test.partition("::")[0]).exists()]


def _chosen(given: argparse.Namespace) -> Iterator[tuple[str, list[Mutant]]]:
    for path in CORE:
        if any(word in path for word in given.only.split("|")):
            source = (ROOT / path).read_bytes()
            all_of_it = without_equivalents(source, mutants(path, source))
            if given.again:
                _, names = survivors(PAGE.read_text(encoding="utf-8"), path)
                yield path, list(_again(all_of_it, path, names))
            else:
                yield path, all_of_it[given.skip : given.skip + given.most]


def _again(drawn: Sequence[Mutant], path: str, names: set[str]) -> Iterator[Mutant]:
    """Yield the mutants of these names; where a line has moved, those of the name without it."""
    here = {named(str(one), path) for one in drawn}
    moved = {without_line(name) for name in names - here}
    for one in drawn:
        name = named(str(one), path)
        if name in names or without_line(name) in moved:
            yield one


def _module(runner: Runner, path: str, chosen: Sequence[Mutant]) -> list[Verdict]:
    source, tests = (ROOT / path).read_bytes(), _there(CORE[path])
    (plain,) = runner.run([Task("unchanged", path, source, tests, _FIRST)])
    if plain.result != SURVIVED:
        print(f"{path}: its tests fail without a mutant:\n{plain.said}", flush=True)
        return []
    limit = plain.seconds * 3 + 30
    tasks = [Task(str(one), path, one.applied(source), tests, limit) for one in chosen]
    found = []
    for verdict in runner.run(tasks):
        if verdict.result == SURVIVED:
            print(f"  survived  {verdict.name}", flush=True)
        found.append(verdict)
    caught, decided = score(found)
    late = len(found) - decided
    print(
        f"{caught:3} of {decided:3} caught, {late} not decided,"
        f" {plain.seconds:4.0f} s unchanged  {path}",
        flush=True,
    )
    return found


def _named(runner: Runner) -> int:
    """Run what `NAMED` has; return how many the tests did not see, or are not there any more.

    What has run out of its time is not decided, and no failure: the machine was busy.
    """
    tasks, missing = [], 0
    for one in NAMED:
        source = (ROOT / one.path).read_text(encoding="utf-8")
        if source.count(one.before) != 1:
            print(f"  not there once any more: {one.path}: {one.before!r}", flush=True)
            missing += 1
            continue
        changed = source.replace(one.before, one.after).encode()
        name = f"{one.path}: {one.before.strip()[:90]!r}"
        tasks.append(Task(name, one.path, changed, _there([one.tests]), _FIRST))
    verdicts = list(runner.run(tasks))
    for verdict in verdicts:
        if verdict.result in (SURVIVED, TIMED_OUT):
            print(f"  {verdict.result}  {verdict.name}", flush=True)
    caught, decided = score(verdicts)
    late = len(verdicts) - decided
    print(f"{caught} of {len(NAMED)} named safeguards are held, {late} not decided", flush=True)
    return missing + decided - caught


def _unchanged(runner: Runner) -> int:
    """Run the tests of `NAMED` without a mutant: what is always red would catch all."""
    source = (ROOT / NAMED[0].path).read_bytes()
    tests = sorted({one.tests for one in NAMED})
    (plain,) = runner.run([Task("unchanged", NAMED[0].path, source, tests, _FIRST)])
    if plain.result != SURVIVED:
        print(f"the tests fail without a mutant:\n{plain.said}", flush=True)
    return plain.result != SURVIVED


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started ends, too
    began = time.monotonic()
    modules = {} if given.quick else dict(_chosen(given))
    tests = [one.tests for one in NAMED] if given.quick else [t for p in modules for t in CORE[p]]
    engines = any("/integration/" in test for test in tests)
    with warm(given.slots, engines=engines) as runner:
        if given.quick:
            return 1 if _unchanged(runner) or _named(runner) else 0
        found = {}
        for path, chosen in modules.items():
            known = survivors(PAGE.read_text(encoding="utf-8"), path)[1]
            if given.again and not known:
                continue
            found[path] = _module(runner, path, chosen) if chosen else []
            page = PAGE.read_text(encoding="utf-8")  # another run may have written meanwhile
            before = survivors(page, path)[0] if given.again else 0
            if found[path] or not chosen:  # what is left of it is not drawn any more
                found[path] += [Verdict("", CAUGHT, 0.0, "")] * before
            page = page_with(page, {path: found[path]})
            PAGE.write_text(page_with_not_drawn(page, table()), encoding="utf-8")
    caught, decided = score([one for verdicts in found.values() for one in verdicts])
    print(f"{caught} of {decided} caught, {time.monotonic() - began:.0f} s")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
