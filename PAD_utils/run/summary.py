"""The last words of a run on the terminal: what was decided, how much of it was wrong, and where to look."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PAD_utils.report.sentences import percent, rate_in_words
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK

UNDECIDED = "undecided"  # no threshold could be learned
_NAMED = 8  # pictures of a list; the others are counted
_METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}


class Decided(NamedTuple):
    """A picture, 0 for good and 1 for defective (None: nobody knows), and its decision (None: no threshold)."""

    name: str
    label: int | None
    decision: str | None


def count_decisions(pictures: Sequence[Decided]) -> dict[str, int]:
    """How many pictures got which decision; all four are there."""
    kinds = (DEFECT, OK, NOT_LOCALISED, UNDECIDED)
    return {kind: sum((p.decision or UNDECIDED) == kind for p in pictures) for kind in kinds}


def summary(classname: str, metrics: dict[str, Any], pictures: Sequence[Decided], report: Path) -> str:
    """What a person wants to see last: figures first, verdict below them, the report at the very end."""
    unlabeled = all(p.label is None for p in pictures)
    promised = (metrics["decision"] or {}).get("false_alarm_rate")
    verdict = _inspected(pictures) if unlabeled else _tested(pictures, promised)
    lines = [_costs(metrics), *([] if unlabeled else [_quality(metrics)]), _threshold(metrics), *verdict]
    return "\n".join([f"{classname}, {len(pictures)} pictures", *(f"  {line}" for line in lines), f"report: {report}"])


def _costs(metrics: dict[str, Any]) -> str:
    seconds = metrics["seconds"]
    per_picture = seconds["retrieve_per_image"] + seconds["refine_per_image"] + seconds["score_per_image"]
    training = "" if seconds["train"] is None else f"training {seconds['train']:.1f} s, "
    made_of = f"{metrics['n_gaussians']} Gaussians, features {metrics['features']}"
    return f"{training}{1000 * per_picture:.0f} ms per picture, {made_of}"


def _quality(metrics: dict[str, Any]) -> str:
    known = [f"{name} {100 * metrics[key]:.2f} %" for key, name in _METRICS.items() if metrics[key] is not None]
    unknown = [f"{_METRICS[key]} undefined ({why})" for key, why in metrics["undefined"].items() if key in _METRICS]
    return ", ".join(known + unknown)


def _threshold(metrics: dict[str, Any]) -> str:
    decision = metrics["decision"]
    if decision is None:
        return "no threshold, so no decisions: see the warning above"
    rate, asked, views = decision["false_alarm_rate"], decision["asked_rate"], decision["views"]
    known = f"{views} good views" if rate == asked else f"{views} good views, too few to promise {percent(asked)}"
    return f"threshold {decision['threshold']:.3g}, chosen for {percent(rate)} false alarms from {known}"


def _tested(pictures: Sequence[Decided], promised: float | None) -> list[str]:
    """Decisions held against the labels."""
    wrong = []
    rates = ((1, OK, "defective missed", None), (0, DEFECT, "good called DEFECT", promised))
    for label, decision, said, rate in rates:
        judged = [p for p in pictures if p.label == label and p.decision in (OK, DEFECT)]
        mistaken = [p.name for p in judged if p.decision == decision]
        if judged:
            likely = rate_in_words(len(mistaken), len(judged), rate)
            wrong.append(f"{len(mistaken)} of {len(judged)} {said} ({likely}){_named(mistaken)}")
    lost = [p.name for p in pictures if p.decision == NOT_LOCALISED]
    return [*wrong, f"{len(lost)} of {len(pictures)} {NOT_LOCALISED}{_named(lost)}"]


def _inspected(pictures: Sequence[Decided]) -> list[str]:
    """Decisions of pictures that nobody has labeled."""
    counts = count_decisions(pictures)
    totals = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n or kind != UNDECIDED)
    names = {kind: [p.name for p in pictures if (p.decision or UNDECIDED) == kind] for kind in counts}
    return [totals, *(f"{kind}{_named(names[kind])}" for kind in counts if names[kind])]


def _named(names: Sequence[str]) -> str:
    """The pictures, or the first of many."""
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f": {', '.join(names[:_NAMED])}{more}"
