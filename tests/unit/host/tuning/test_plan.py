"""What is written and what is left alone: one case a rule."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from supervisor.host.needs.facts import Fact, Facts, image_facts
from supervisor.host.needs.requirements import BY_NAME, TABLE, Kind, Severity, limit_text
from supervisor.host.tuning.diagnosis import State, SystemLimit, critical, diagnose
from supervisor.host.tuning.file_tree import Owned
from supervisor.host.tuning.journal import FileRecord, Journal, KernelRecord
from supervisor.host.tuning.plan import Inputs, Plan, make_plan
from supervisor.host.tuning.system_files import (
    LIMITS_FILE,
    SYSCTL_FILE,
    Configuration,
    Line,
    parse_limits,
    parse_sysctl,
)

SOMAXCONN = "net.core.somaxconn"
KEEPALIVE = "net.ipv4.tcp_keepalive_time"


def facts(
    *,
    read_only: Sequence[str] = (),
    may_raise: bool = True,
    container: str | None = None,
    **changed: Any,
) -> Facts:
    """A Debian with its defaults; `changed` by name, with `__` for the dots."""
    texts = {
        row.name: (
            "32768 60999" if row.name.endswith("port_range") else str(int(row.kernel_default))
        )
        for row in TABLE
        if row.kernel_default is not None
    }
    texts |= {
        "fs.file-max": "2466170",
        "kernel.threads-max": "192730",
        "net.netfilter.nf_conntrack_max": "262144",
    }
    texts |= {
        "nofile_soft": "1024",
        "nofile_hard": "524288",
        "nproc_soft": "96365",
        "nproc_hard": "96365",
    }
    texts |= {name.replace("__", "."): text for name, text in changed.items()}
    values = {
        name: Fact(BY_NAME[name].parse(text), text)
        for name, text in texts.items()
        if text != "missing"
    }
    values |= {
        "memory": Fact(64 * 1024**3, "64 GiB"),
        "swap_used": Fact(0, "no swap"),
        "time_sync": Fact(1, "synchronised"),
    }
    values |= {
        "transparent_hugepages": Fact(1, "madvise"),
        "cgroup_pids": Fact(math.inf, "unlimited"),
    }
    missing = {row.name: "this kernel does not have it" for row in TABLE if row.name not in values}
    return Facts(
        values=values,
        missing=missing,
        read_only=frozenset(read_only),
        may_raise_limits=may_raise,
        container=container,
    )


def plan(
    known: Facts | None = None,
    sysctl: Sequence[tuple[str, str]] = (),
    later: Sequence[tuple[str, str]] = (),
    limits: str = "",
    sessions: int = 500,
    ours: dict[str, bytes] | None = None,
    journal: Journal | None = None,
) -> Plan:
    lines = [
        Line("etc/sysctl.conf", 1, key, value, f"{key}={value}") for key, value in (*sysctl, *later)
    ]
    found, malformed = parse_limits("etc/security/limits.conf", limits)
    return make_plan(
        Inputs(
            sessions=sessions,
            facts=known or facts(),
            sysctl=Configuration(lines=lines, ours_at=len(sysctl)),
            limits=Configuration(lines=found, malformed=malformed, ours_at=len(found)),
            ours={path: Owned(content, 0o644, 0, 0, 0) for path, content in (ours or {}).items()},
            journal=journal,
        )
    )


def written(made: Plan, path: str = SYSCTL_FILE) -> dict[str, str]:
    content = next(change.after for change in made.files if change.path == path)
    parse = parse_sysctl if path == SYSCTL_FILE else parse_limits
    return {line.key: line.value for line in parse(path, (content or b"").decode())[0]}


def kernel(made: Plan) -> dict[str, str]:
    return {change.key: change.after for change in made.kernel}


def test_a_fresh_host_gets_the_seeds_values_and_nothing_more() -> None:
    made = plan()
    values = {
        "net.ipv4.tcp_max_syn_backlog": "8192",
        KEEPALIVE: "600",
        "net.ipv4.tcp_fin_timeout": "30",
        SOMAXCONN: "8192",
        "net.core.netdev_max_backlog": "5000",
        "vm.max_map_count": "262144",
    }
    assert (written(made), kernel(made)) == (values, values)
    assert written(made, LIMITS_FILE) == {
        "* soft nofile": "65536",
        "* hard nofile": "524288",
        "root soft nofile": "65536",
        "root hard nofile": "524288",
    }


@pytest.mark.parametrize(
    ("now", "others", "later", "in_file", "in_kernel"),
    [
        ("4096", None, None, "8192", "8192"),
        ("4096", "128", None, "8192", "8192"),
        # asked for by another file, only not applied: not less than that
        ("4096", "16384", None, "16384", "16384"),
        ("65535", "65535", None, None, None),  # better, and lasting
        ("65535", None, None, "65535", None),  # better, but only until the next boot
        ("65535", "128", None, "65535", None),
        ("8192", None, "128", "8192", None),  # and it is told that the later file wins
        ("4096", "rubbish", None, "8192", "8192"),
    ],
)
def test_a_value_that_must_be_large(
    now: str, others: str | None, later: str | None, in_file: str | None, in_kernel: str | None
) -> None:
    made = plan(
        facts(net__core__somaxconn=now),
        sysctl=[(SOMAXCONN, others)] if others else [],
        later=[(SOMAXCONN, later)] if later else [],
    )
    assert (written(made).get(SOMAXCONN), kernel(made).get(SOMAXCONN)) == (in_file, in_kernel)
    assert any("wins at the next boot" in note for note in made.notes) == bool(later)
    assert any("a value that is none" in note for note in made.notes) == (others == "rubbish")


@pytest.mark.parametrize(("now", "in_file"), [("7200", "600"), ("600", "600"), ("300", "300")])
def test_a_value_that_must_be_small(now: str, in_file: str) -> None:
    made = plan(facts(net__ipv4__tcp_keepalive_time=now))
    assert written(made)[KEEPALIVE] == in_file
    assert kernel(made).get(KEEPALIVE) == (None if now != "7200" else "600")


def test_a_key_that_this_kernel_does_not_have_is_not_written() -> None:
    made = plan(
        facts(net__core__netdev_max_backlog="missing", net__netfilter__nf_conntrack_max="missing"),
        sessions=90_000,
    )
    assert "net.core.netdev_max_backlog" not in written(made)
    assert "net.netfilter.nf_conntrack_max" not in written(made)
    assert "net.core.netdev_max_backlog" in made.refused
    assert "net.netfilter.nf_conntrack_max" not in made.refused, (
        "no firewall that tracks, nothing to raise"
    )


def test_what_is_mounted_read_only_is_told_and_not_written() -> None:
    made = plan(facts(read_only=[SOMAXCONN, "vm.max_map_count"], container="docker"))
    assert SOMAXCONN not in written(made)
    assert "docker run --sysctl" in made.refused[SOMAXCONN]
    assert "whole host's" in made.refused["vm.max_map_count"]
    assert KEEPALIVE in kernel(made)


def test_many_sessions_want_pids_ports_and_descriptors() -> None:
    made = plan(sessions=30_000)
    assert written(made)["kernel.pid_max"] == str(11 * 30_000 + 4096)
    assert written(made)["net.ipv4.ip_local_port_range"] == "10240 65535"
    assert written(made)[SOMAXCONN] == "30000"
    assert written(made, LIMITS_FILE)["* soft nofile"] == "90256"
    assert written(made, LIMITS_FILE)["* soft nproc"] == str(11 * 30_000 + 512)
    assert "root soft nproc" not in written(made, LIMITS_FILE), "root is exempt"


def test_no_descriptor_limit_is_written_above_nr_open() -> None:
    known = facts(fs__nr_open="50000", read_only=["fs.nr_open"])
    assert written(plan(known), LIMITS_FILE)["* soft nofile"] == "50000"
    assert "fs.nr_open is 50000" in plan(known).refused["nofile_soft"]
    raised = plan(facts(fs__nr_open="50000"))
    assert (written(raised)["fs.nr_open"], written(raised, LIMITS_FILE)["* soft nofile"]) == (
        "65536",
        "65536",
    )


def test_no_hard_limit_is_written_that_pam_could_not_set() -> None:
    made = plan(facts(may_raise=False, nofile_hard="20000"))
    assert set(written(made, LIMITS_FILE).values()) == {"20000"}
    assert "refuse every login" in made.refused["nofile_soft"]
    content = next(change.after for change in made.files if change.path == LIMITS_FILE)
    assert b"CAP_SYS_RESOURCE" in (content or b"")


def test_limits_that_are_good_or_better_are_left_alone() -> None:
    good = "* - nofile 1048576\nroot - nofile 100000\n"
    assert written(plan(limits=good), LIMITS_FILE) == {}
    assert written(plan(limits="* soft nofile 200000\n"), LIMITS_FILE).get("* soft nofile") is None


def test_a_soft_limit_that_no_file_sets_may_be_this_shells_own_and_is_written() -> None:
    """`ulimit -n 100000` and then this script: a login would begin with 1024 again."""
    made = plan(facts(nofile_soft="100000", nofile_hard="524288"))
    assert written(made, LIMITS_FILE)["* soft nofile"] == "100000"


@pytest.mark.parametrize(
    ("line", "soft"),
    [
        ("* soft nofile 3k\n* hard nofile 99999999k x", "65536"),  # pam_limits: 3
        ("* - nofile 200000 and more words", None),
        ("* - nofile UNLIMITED", None),
        ("* - nofile many", "65536"),  # pam_limits ignores it
    ],
)
def test_values_are_read_as_pam_limits_reads_them(line: str, soft: str | None) -> None:
    made = plan(limits=line)
    assert written(made, LIMITS_FILE).get("* soft nofile") == soft


def test_lines_of_others_in_our_file_keep_their_order() -> None:
    """Of two for the same key the later one counts; `-` is two keys in one line."""
    theirs = b"bob - nofile 1024\nbob soft nofile 512\n"
    content = next(
        change.after
        for change in plan(ours={LIMITS_FILE: theirs}).files
        if change.path == LIMITS_FILE and change.after
    )
    assert theirs in content


def test_a_comment_behind_a_kernel_value_is_passed_over_as_the_kernel_does() -> None:
    made = plan(image_facts(), sysctl=[(SOMAXCONN, "65535 # many"), (KEEPALIVE, "300 ; few")])
    assert not {SOMAXCONN, KEEPALIVE} & set(written(made))
    assert written(plan(sysctl=[(SOMAXCONN, "65535 # many")]))[SOMAXCONN] == "65535"


def test_descriptor_limits_stay_below_what_a_later_file_makes_of_nr_open() -> None:
    made = plan(later=[("fs.nr_open", "30000")])
    assert set(written(made, LIMITS_FILE).values()) == {"30000"}


def test_a_value_of_a_module_is_written_with_a_word_on_loading_it() -> None:
    made = plan(facts(net__netfilter__nf_conntrack_max="100"))
    assert any("modules-load.d" in note for note in made.notes)
    assert not any("modules-load.d" in note for note in plan().notes)


def test_where_no_login_reads_limits_none_is_promised() -> None:
    given = Inputs(
        sessions=500,
        facts=facts(),
        sysctl=Configuration(),
        limits=Configuration(),
        ours={},
        logins_read_limits=False,
    )
    made = make_plan(given)
    assert made.promised == {}
    assert any("no login here reads" in note for note in made.notes)


def test_an_image_is_judged_by_its_files_and_what_grows_with_memory_is_left_to_the_kernel() -> None:
    made = plan(
        image_facts(), sysctl=[(SOMAXCONN, "65535"), ("kernel.pid_max", "4194304")], sessions=90_000
    )
    assert made.kernel == ()
    assert not {SOMAXCONN, "kernel.pid_max", "fs.file-max", "kernel.threads-max"} & set(
        written(made)
    ) - {SOMAXCONN}
    assert written(made)[SOMAXCONN] == "90000"
    assert any(note.startswith("fs.file-max is left to the kernel") for note in made.notes)


def test_what_we_wrote_is_no_proof_that_it_was_good() -> None:
    first = plan()
    ours = {change.path: change.after for change in first.files if change.after}
    journal = Journal(
        files={path: FileRecord(None, [content]) for path, content in ours.items()},
        kernel={change.key: KernelRecord(change.before, [change.after]) for change in first.kernel},
        limits={"nofile_soft": 1024, "nofile_hard": 524288},
    )
    applied = {change.key.replace(".", "__"): change.after for change in first.kernel}
    known = facts(nofile_soft="65536", **dict[str, Any](applied))
    again = plan(known, ours=ours, journal=journal)
    assert not again.changes
    assert written(plan(known, ours=ours, journal=journal, sessions=9000))[SOMAXCONN] == "9000"
    lost = plan(known, ours=ours)
    assert not lost.changes
    assert any("journal is gone" in note for note in lost.notes)


def found(limits: Sequence[SystemLimit]) -> dict[str, SystemLimit]:
    return {limit.name: limit for limit in limits}


def test_findings_say_what_becomes_of_each_limit() -> None:
    known = facts(read_only=["vm.max_map_count"], vm__overcommit_memory="2")
    limits = found(diagnose(known, plan(known)))
    assert set(limits) == {row.name for row in TABLE}
    assert limits["fs.nr_open"].state is State.GOOD
    assert (limits[SOMAXCONN].state, limits[SOMAXCONN].severity) == (State.CHANGE, Severity.WARNING)
    assert limits["vm.max_map_count"].state is State.BLOCKED
    assert limits["vm.overcommit_memory"].state is State.YOURS
    assert (limits["nofile_soft"].state, limits["nofile_soft"].critical) == (State.CHANGE, True)
    assert limits["systemd_default_tasks"].state is State.UNKNOWN
    assert all(limit.what_to_do for limit in limits.values() if limit.severity)


def test_a_limit_that_counts_from_the_next_login_is_not_critical_any_more() -> None:
    ours = {
        change.path: change.after
        for change in plan().files
        if change.after and change.path == LIMITS_FILE
    }
    journal = Journal(
        files={LIMITS_FILE: FileRecord(None, [ours[LIMITS_FILE]])},
        limits={"nofile_soft": 1024.0, "nofile_hard": 524288.0},
    )
    limits = diagnose(facts(), plan(ours=ours, journal=journal))
    assert found(limits)["nofile_soft"].state is State.PENDING
    assert critical(limits) == []


def test_every_writable_row_can_be_found_wanting() -> None:
    for row in TABLE:
        if row.kind is Kind.SYSCTL and row.written:
            bad = (
                "1 2"
                if row.name.endswith("port_range")
                else ("1" if row.as_good(2, 1) else "99999")
            )
            made = plan(facts(**dict[str, Any]({row.name.replace(".", "__"): bad})))
            assert kernel(made)[row.name] == row.wanted_text(500), row.name
    assert limit_text(math.inf) == "unlimited"
