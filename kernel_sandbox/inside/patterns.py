"""Lines that one regular expression reads: logs, chats, numbered lines, labels before a text.

The groups of a pattern are the fields of its records.
"""

from __future__ import annotations

import re

_CLOCK = r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?(?:\s?[AaPp]\.?[Mm]\.?)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"
_DAY = (
    r"(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{2,4}|\d\d?[/ -][A-Z][a-z]{2}[/ -]\d{4}"
    r"|(?:[A-Z][a-z]{2},? )?[A-Z][a-z]{2} [ \d]?\d(?:,? \d{4})?)"
)
_STAMP = rf"(?:{_DAY}(?:T|:|,?\s+){_CLOCK}{_ZONE}(?: \d{{4}})?|\d\d:\d\d:\d\d(?:[.,]\d+)?)"
_TIME = rf"[\[(<]?(?P<time>{_STAMP})[\])>]?"
_LEVEL = (
    r"(?P<level>(?i:TRACE|DEBUG|INFO|INFORMATION|NOTICE|WARN|WARNING|ERROR|ERR|CRITICAL|FATAL"
    r"|SEVERE|ALERT|EMERG))"
)
_MARKED = rf"[\[(<{{]?\s*{_LEVEL}\b\s*[\])>}}]?"
# Bounded, since what may follow it begins with blanks too.
_GAP = r"[\s:|,-]{1,8}"
_NAME = r"[^\W\d_](?:[\w.'\u2019&-]| (?=\S)){0,39}?(?: ?\([^)]{1,20}\))?"

PATTERNS = {
    "access": re.compile(
        r"(?P<host>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] "
        r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<size>\d+|-)(?P<more>.*)'
    ),
    "syslog": re.compile(
        r"(?:<\d+>)?(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) "
        r"(?P<host>\S+) (?P<process>[^\s:\[]+(?:\[\d+\])?): ?(?P<message>.*)"
    ),
    # The third group is the bracket that may open the component, which then closes it.
    "component": re.compile(
        rf"{_TIME}{_GAP}?{_MARKED}{_GAP}?([\[(])?(?P<component>[^\s\[\]():]{{1,80}})"
        r"(?(3)[\])]:?|:)(?=\s)\s*(?P<message>.*)"
    ),
    "level": re.compile(rf"{_TIME}{_GAP}?{_MARKED}{_GAP}?(?P<message>.*)"),
    "source": re.compile(
        rf"{_TIME}{_GAP}?(?P<source>\[[^\]]{{1,80}}\]|\S{{1,80}}){_GAP}{_MARKED}"
        rf"{_GAP}?(?P<message>.*)"
    ),
    "severity": re.compile(rf"{_MARKED}(?:\s*[:|-]\s*|\s+)(?P<message>.*)"),
    "chat": re.compile(rf"{_TIME}(?:\s*-\s*|:?\s+)<?(?P<speaker>{_NAME})>?:\s+(?P<text>.*)"),
    "numbered": re.compile(
        r"\s*(?:[#\[(]|[Nn]o\. ?)?(?P<number>\d{1,12})(?:[.):\]]+)(?:\s+|$)(?P<text>.*)"
    ),
    "turn": re.compile(
        rf"\s*(?:\*\*)?(?P<speaker>{_NAME})(?:\*\*)?:(?:\*\*)?(?:\s+|$)(?P<text>.*)"
    ),
    "labels": re.compile(
        r"\s*(?P<label>[^\W\d]\w{0,29}):(?P<detail>[^\W\d]\w{0,29})\s+(?P<text>.*)"
    ),
    "bracket": re.compile(r"\s*[\[(](?P<label>[^\])]{1,40})[\])]:?\s*(?P<text>.*)"),
    "marked": re.compile(r"__label__(?P<label>\S+)\s+(?P<text>.*)"),
    "label": re.compile(r"\s*(?P<label>[^\W\d][\w-]{0,29}(?: [\w-]{1,20}){0,2}):(?P<text>.*)"),
    "stamp": re.compile(rf"[\[(<]?(?P<time>{_STAMP}|{_DAY})[\])>]?{_GAP}(?P<message>.*)"),
}
"""By name, the more telling first."""
