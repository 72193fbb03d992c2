"""Plans for pairs of things of which each has records that meet conditions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.conditions import conditions, timings
from outcore.engine.plans.labelling import Labelling
from outcore.engine.plans.plan import TEXT, TEXTS, Kind, NoPlan, Plan, objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.conditions import Condition, Timing
    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_APART = re.compile(r"\b(?:the other|another|the second|the first)\b", re.IGNORECASE)


class Pairs:
    """Group the records, test each group, and pair those that pass."""

    kind: ClassVar[Kind] = "pairs"

    def schema(self, scene: Scene) -> dict[str, Any]:
        """Whose pairs, and the words that say what each of the two must have."""
        fields = {"enum": [field.name for field in scene.fields]} if scene.fields else TEXT
        return objects(member=fields, labels=TEXTS, one=TEXT, other=TEXT)

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The program that pairs.

        Raises:
            NoPlan: there are no records, no field to group by, or no condition was found.
        """
        member = scene.field(str(filled.get("member", "")))
        if member is None:
            raise NoPlan("no field says whose pairs are asked for")
        labels = tuple(str(one) for one in filled.get("labels", ()) if scene.says(str(one)))
        labelling = Labelling.of(scene, labels, ())
        if labelling is None or labelling.field is member:
            raise NoPlan("no labels were found to judge by")
        known = labelling.labels or labelling.field.values
        spans = [str(filled.get(side, "")) for side in ("one", "other")]
        # What does not stand in the question is no copy of it.
        spans = [
            span if " ".join(span.split()) in " ".join(scene.asked.split()) else ""
            for span in spans
        ]
        sides = [conditions(span, known) for span in spans]
        if not any(sides):
            sides = [conditions(scene.asked, known)] * 2
        if not _APART.search(scene.question):
            # Whatever was copied for either is asked of both.
            both = tuple(dict.fromkeys((*sides[0], *sides[1])))
            sides = [both, both]
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
        date = f"as_date(r[{field.name!r}]{more}).isoformat()"
        tests += (one.code("g", date) for one in when)
    joined = " and ".join(tests) if len(tests) == 1 else "\n        and ".join(tests)
    body = joined if len(tests) == 1 else f"(\n        {joined}\n    )"
    return f"def {name}(g):\n    return {body}"
