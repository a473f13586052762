"""Means and standard deviations of records: over seeds for a class, over classes for a method."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from PAD_utils.evaluate.pose_metrics import summarize
from PAD_utils.tables.collect import METRICS, Record

STAGES = ("train", "retrieve_per_image", "refine_per_image", "score_per_image", "total")
Figure = dict[str, Any]  # mean, std (None of a single value), n values of the `of` that were asked for


def summary(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One entry for each method and share of the views, in the order of the records, ready for JSON."""
    settings: dict[tuple[str, float], list[Record]] = defaultdict(list)
    for record in records:
        settings[record.method, record.share].append(record)
    return [_setting(method, share, some) for (method, share), some in settings.items()]


def costs(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Seconds of each stage and the most memory of each method at all views: what differs from one try to the next."""
    found = []
    for method in dict.fromkeys(record.method for record in records):
        known = [r for r in records if r.method == method and r.share == 1 and r.figures.get("seconds")]
        if known:
            seconds = {stage: figure((r.figures["seconds"].get(stage) for r in known), len(known)) for stage in STAGES}
            memory = [r.cost["peak_memory_bytes"] for r in known if r.cost and r.cost.get("peak_memory_bytes")]
            found.append({"method": method, "seconds": seconds, "peak_memory_bytes": max(memory, default=None)})
    return found


def figure(values: Iterable[float | None], of: int) -> Figure:
    """Mean and (sample) standard deviation of those that are known."""
    known = [value for value in values if value is not None]
    std = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known) if known else None, "std": std, "n": len(known), "of": of}


def _setting(method: str, share: float, records: Sequence[Record]) -> dict[str, Any]:
    by_class: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_class[record.classname].append(record)
    known = [record for record in records if record.problem is None]
    lost = [r.figures["n_not_localised"] for r in known if "n_not_localised" in r.figures]
    errors = [error for record in known for error in record.errors]
    return {
        "method": method,
        "share": share,
        "features": sorted({record.figures["features"] for record in known if record.figures.get("features")}),
        "classes": {name: _class(some) for name, some in by_class.items()},
        "mean": {metric: _mean_over_classes(by_class, metric) for metric in METRICS},
        "pictures": sum(record.figures["n_test"] for record in known),
        "not_localised": sum(lost) if lost else None,
        "poses": summarize(errors) if errors else None,
    }


def _class(records: Sequence[Record]) -> dict[str, Any]:
    figures: dict[str, Any] = {m: figure((r.figures.get(m) for r in records), len(records)) for m in METRICS}
    problems = {str(record.seed): record.problem for record in records if record.problem is not None}
    return {**figures, "problems": problems, "failed": any(record.failed for record in records)}


def _mean_over_classes(by_class: dict[str, list[Record]], metric: str) -> Figure:
    """The mean over the classes of each seed, then over seeds, as the paper's; only seeds that have every class that
    has figures at all enter the deviation, or classes would count as noise."""
    values: dict[int | None, dict[str, float]] = defaultdict(dict)
    for name, records in by_class.items():
        for record in records:
            if record.figures.get(metric) is not None:
                values[record.seed][name] = record.figures[metric]
    known = {name for some in values.values() for name in some}
    per_class = [statistics.fmean(some[name] for some in values.values() if name in some) for name in sorted(known)]
    whole = [statistics.fmean(some.values()) for some in values.values() if set(some) == known]
    return {
        "mean": statistics.fmean(per_class) if per_class else None,
        "std": statistics.stdev(whole) if len(whole) > 1 else None,
        "n": len(known),
        "of": len(by_class),
    }
