"""The grammar of sysctl.d and limits.d, their order, and our texts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.host.tuning.file_tree import InTheWay, Owned, Tree
from supervisor.host.tuning.system_files import (
    HEADER_START,
    LIMITS_FILE,
    SYSCTL_FILE,
    Entry,
    difference,
    limits_order,
    limits_text,
    parse_limits,
    parse_sysctl,
    special_limits,
    sysctl_order,
    sysctl_text,
    without_kept,
)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("net.core.somaxconn = 1", [("net.core.somaxconn", "1")]),
        ("net/core/somaxconn=1", [("net.core.somaxconn", "1")]),
        ("  -vm.x =  1  2\t3 ", [("vm.x", "1 2 3")]),
        ("# a = 1\n; b = 2\n\n", []),
        ("-net.ipv4.conf.all", []),
        ("a.b =", [("a.b", "")]),
    ],
)
def test_sysctl_lines(text: str, lines: list[tuple[str, str]]) -> None:
    found, malformed = parse_sysctl("f", text)
    assert [(line.key, line.value) for line in found] == lines
    assert malformed == []


@pytest.mark.parametrize("text", ["what is this", "=5", "-", "- = 5", "two words = 5"])
def test_malformed_sysctl_lines_are_told(text: str) -> None:
    found, malformed = parse_sysctl("etc/f", f"a.b = 1\n{text}\n")
    assert [line.key for line in found] == ["a.b"]
    assert [wrong.place for wrong in malformed] == ["/etc/f:2"]


def test_limits_lines() -> None:
    text = "* - nofile 5 # both\nroot\tHARD nofile unlimited\nftp -\n@g soft nproc\n"
    found, malformed = parse_limits("f", text)
    assert [(line.key, line.value) for line in found] == [
        ("* soft nofile", "5"),
        ("* hard nofile", "5"),
        ("root hard nofile", "unlimited"),
    ]
    assert [wrong.number for wrong in malformed] == [4]


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    for parse in (parse_sysctl, parse_limits):
        lines, malformed = parse("f", text)
        assert all(
            raw in text
            for raw in [*(line.raw for line in lines), *(wrong.raw for wrong in malformed)]
        )


def test_of_two_files_with_one_name_the_first_directory_counts_and_names_give_the_order() -> None:
    order = sysctl_order(
        {
            "etc/sysctl.d": ["99-z.conf", "10-a.conf", "README"],
            "usr/lib/sysctl.d": ["10-a.conf", "50-p.conf"],
        }
    )
    assert order == [
        "etc/sysctl.d/10-a.conf",
        "usr/lib/sysctl.d/50-p.conf",
        SYSCTL_FILE,
        "etc/sysctl.d/99-z.conf",
    ]
    assert limits_order(["99-z.conf", "x"]) == [
        "etc/security/limits.conf",
        LIMITS_FILE,
        "etc/security/limits.d/99-z.conf",
    ]


def test_our_files_are_read_back_as_they_were_meant() -> None:
    entries = [
        Entry("net.core.somaxconn", "8192", "Why " * 60),
        Entry("net.netfilter.nf_conntrack_max", "1", "Other.", True),
    ]
    text = sysctl_text(entries, ["vm.swappiness=1", "net.core.somaxconn = 5"], 500)
    assert text is not None
    lines, malformed = parse_sysctl("f", text.decode())
    assert malformed == []
    assert {line.key: line.value for line in lines} == {
        "vm.swappiness": "1",
        "net.core.somaxconn": "8192",
        "net.netfilter.nf_conntrack_max": "1",
    }
    assert "-net.netfilter.nf_conntrack_max = 1\n" in text.decode(), (
        "its absence at boot is no error"
    )
    assert max(map(len, text.decode().splitlines())) <= 120
    ours, _ = parse_sysctl("f", without_kept(text))
    assert [line.key for line in ours] == ["net.core.somaxconn", "net.netfilter.nf_conntrack_max"]
    assert sysctl_text([], [], 500) is None
    assert limits_text([], [], 500) is None
    assert without_kept(b"vm.x = 1\n") == ""
    assert text.decode().startswith(HEADER_START)


def test_a_difference_shows_files_that_come_and_go() -> None:
    assert difference("etc/f", b"a\n", b"a\n") == ""
    assert difference("etc/f", None, b"a\n").splitlines()[:2] == ["--- /dev/null", "+++ /etc/f"]
    assert difference("etc/f", b"a\n", None).splitlines()[:2] == ["--- /etc/f", "+++ /dev/null"]


def test_lines_for_single_users_that_give_less_are_found() -> None:
    lines, _ = parse_limits(
        "f", "bob hard nofile 10\n@g soft nofile 99\n* soft nofile 1\namy soft nofile many\n"
    )
    assert [line.value for line in special_limits(lines, "nofile", 50)] == ["10"]


# ---- the tree


def test_a_link_in_an_image_never_leads_out_of_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc/sysctl.d").mkdir(parents=True)
    (root / "etc/sysctl.conf").write_text("inside\n")
    (root / "etc/sysctl.d/absolute.conf").symlink_to("/etc/sysctl.conf")
    (root / "etc/sysctl.d/upwards.conf").symlink_to("../../../../../../../../etc/sysctl.conf")
    (root / "etc/sysctl.d/circle.conf").symlink_to("circle.conf")
    tree = Tree(root)
    assert tree.read("etc/sysctl.d/absolute.conf") == b"inside\n"
    assert tree.read("etc/sysctl.d/upwards.conf") == b"inside\n"
    assert tree.sysctl_configuration().unreadable == {
        "/etc/sysctl.d/circle.conf": "Too many levels of symbolic links"
    }


def test_a_file_masked_by_dev_null_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "usr/lib/sysctl.d").mkdir(parents=True)
    (tmp_path / "usr/lib/sysctl.d/50-a.conf").write_text("net.core.somaxconn = 1\n")
    assert Tree(tmp_path).sysctl_configuration().effective("net.core.somaxconn") is not None
    (tmp_path / "etc/sysctl.d/50-a.conf").symlink_to("/dev/null")
    assert Tree(tmp_path).sysctl_configuration().effective("net.core.somaxconn") is None


def test_sysctl_conf_counts_last_only_where_systemd_does_not_apply_the_files(
    tmp_path: Path,
) -> None:
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "etc/sysctl.conf").write_text("net.core.somaxconn = 1\n")
    assert Tree(tmp_path).sysctl_configuration().after_ours("net.core.somaxconn") is not None
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").touch()
    assert Tree(tmp_path).sysctl_configuration().effective("net.core.somaxconn") is None
    (tmp_path / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    found = Tree(tmp_path).sysctl_configuration()
    assert found.effective("net.core.somaxconn") is not None
    assert found.after_ours("net.core.somaxconn") is None, "99-sysctl comes before 99-websocket"


def test_a_staged_file_that_cannot_take_its_place_leaves_nothing(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    staged = tree.stage(
        "file", Owned(b"x", 0o640, 0, 0, 0) if tmp_path.stat().st_uid == 0 else owned(tmp_path)
    )
    (tmp_path / "file").mkdir()
    with pytest.raises(InTheWay):
        staged.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def owned(place: Path) -> Owned:
    return Owned(b"x", 0o640, place.stat().st_uid, place.stat().st_gid, 0)
