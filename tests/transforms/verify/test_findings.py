"""Kinds of findings: each is in the README, and counts and keeps what it should."""

from __future__ import annotations

from pathlib import Path

from transforms.verify.findings import Findings, Kind

README = Path(__file__).parents[3] / "README.md"


def test_the_readme_says_what_each_finding_means_and_what_to_do():
    text = README.read_text(encoding="utf-8")
    for kind in Kind:
        note = " (note)" if kind.note else ""
        assert f"| `{kind.label}`{note} | {kind.sentence} | {kind.cure or '–'} |" in text


def test_all_are_counted_and_the_first_are_kept():
    findings = Findings(keep=2, accept_gaps=True)
    for number in range(5):
        findings.add(Kind.CRC64, f"key-{number}")
        findings.add(Kind.SPOOL, f"part-{number}")
        findings.add(Kind.GAP, f"gap-{number}")
    assert [each.key for each in findings.kept(Kind.CRC64)] == ["key-0", "key-1"]
    assert findings.counts == {Kind.CRC64: 5, Kind.SPOOL: 5, Kind.GAP: 5}
    assert findings.against == 5
    assert Findings(keep=None).against == 0
