"""Plans for pairs of things of which each has records that meet conditions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.conditions import COMPARED, conditions
from outcore.engine.plans.labelling import Labelling
from outcore.engine.plans.plan import TEXT, TEXTS, Kind, NoPlan, Plan, objects, text, texts
from outcore.engine.plans.sides import timings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.conditions import Condition
    from outcore.engine.plans.scene import Scene
    from outcore.engine.plans.sides import Timing
    from outcore.kernel_sandbox.inside.layout import Field

# Where the conditions of a pair begin, and where those of its other member do.
_WHERE = re.compile(
    r"\b(?:where|such that|so that|in which|of which|who|that|with|whose)\b", re.IGNORECASE
)
_OTHER = re.compile(
    r"(?:[,;]|(?<![\s,;]))\s*+\b(?:and|while|whereas|but|plus)?\s*+"
    r"(?:the other|another|the second)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.?!](?:\s|$)")


class Pairs:
    """Group the records, test each group, and pair those that pass."""

    kind: ClassVar[Kind] = "pairs"

    def schema(self, scene: Scene) -> dict[str, Any]:
        """Whose pairs, the words that say what each of the two must have, unlisted labels."""
        fields = [field.name for field in scene.choices if field.type != "date"]
        member = {"enum": list(dict.fromkeys(fields))} if fields else TEXT
        if scene.about_labels:
            return objects(member=member, one=TEXT, other=TEXT)
        return objects(member=member, labels=TEXTS, one=TEXT, other=TEXT)

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The program that pairs.

        Raises:
            NoPlan: there are no records, no field to group by, or no condition was found.
        """
        member = scene.field(text(filled.get("member")))
        if member is None:
            raise NoPlan("no field says whose pairs are asked for")
        labelling = Labelling.of(scene, texts(filled.get("labels")))
        if labelling is None or labelling.field is member:
            raise NoPlan("no labels were found to judge by")
        known = labelling.known
        halves = _halves(scene.asked)
        if any(map(COMPARED.search, halves)):
            raise NoPlan("numbers of two labels are compared")
        sides = [conditions(half, known) for half in halves]
        if len(sides) == 1:
            sides *= 2
        elif not all(sides):
            copied = [text(filled.get(side)) for side in ("one", "other")]
            whole = " ".join(scene.asked.split())
            # What does not stand in the question is no copy of it.
            sides = [
                side or (conditions(span, known) if span in whole else ())
                for side, span in zip(sides, copied, strict=True)
            ]
        one, other = (side or sides[0] or sides[1] for side in sides)
        if not one:
            raise NoPlan("no condition was found")
        when = timings(scene.question, known) if scene.date_field is not None else ()
        lines = ["rows = list(records)", *labelling.code()]
        lines.append("for r, label in zip(rows, labels): r['label'] = str(label)")
        lines.append(f"groups = group(rows, {member.name!r})")
        lines.append(_test("one", one, when, scene.date_field))
        same = one == other
        if not same:
            lines.append(_test("other", other, when, scene.date_field))
        lines.append(f"found = pairs(groups, one{'' if same else ', other'})")
        lines.append("print(len(found), 'pairs')")
        lines.append("done(found)")
        return Plan("pairs", filled, "\n".join(lines))


def _test(
    name: str, needed: tuple[Condition, ...], when: tuple[Timing, ...], field: Field | None
) -> str:
    tests = [one.code("g") for one in needed]
    if when:
        assert field is not None
        more = "" if field.day_first is None else f", day_first={field.day_first}"
        # A record without a date lies on no side of one.
        date = f"(d := as_date(r[{field.name!r}]{more})) and d.isoformat()"
        tests += (one.code("g", date) for one in when)
    joined = " and ".join(tests) if len(tests) == 1 else "\n        and ".join(tests)
    body = joined if len(tests) == 1 else f"(\n        {joined}\n    )"
    return f"def {name}(g):\n    return {body}"


def _halves(asked: str) -> list[str]:
    """The words that say what one member has to have, and the other, if that is another thing."""
    begins = _WHERE.search(asked)
    words = asked[begins.end() :] if begins else asked
    ends = _SENTENCE.search(words)
    words = words[: ends.start()] if ends else words
    apart = _OTHER.search(words)
    return [words[: apart.start()], words[apart.end() :]] if apart else [words]
