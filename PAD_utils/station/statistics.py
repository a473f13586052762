"""How decisions and scores go over time, and a warning when good parts no longer score as they did."""

import time
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK
from PAD_utils.station.store import MISTAKES, Store

BUCKETS = 48
REFERENCE, RECENT = 200, 50  # good parts: the first ones of a model, and the last ones
_LEAST_REFERENCE = 50
_CHANCE = 1e-6  # of so large a difference without a cause: the test is repeated with every part
_SHIFT = 0.1  # of the way from the usual score to the threshold: less is no matter
# What a person has called defective is none, what they have called good is one whatever was decided.
_GOOD = "class = ? AND model = ? AND score IS NOT NULL AND (label = 'good' OR (label IS NULL AND decision = 'OK'))"


def statistics(store: Store, classname: str, model: str, hours: float) -> dict[str, Any]:
    """What happened to parts of a class in the last `hours`, in `BUCKETS` equal spans, and whether its scores drift."""
    now = time.time()
    width = hours * 3600 / BUCKETS
    start = now - BUCKETS * width
    counts = f"count(*), sum(decision = '{DEFECT}'), sum(decision = '{NOT_LOCALISED}'), sum({MISTAKES})"
    good = f"avg(CASE WHEN decision = '{OK}' THEN score END)"
    rows = store.select(
        f"SELECT CAST((at - ?) / ? AS INTEGER) AS bucket, {counts}, {good} FROM parts "
        "WHERE class = ? AND at >= ? AND at <= ? GROUP BY bucket ORDER BY bucket",
        [start, width, classname, start, now],
    )
    names = ("parts", "defect", "not_localised", "mistakes", "good_score")
    spans = [
        {"from": start + bucket * width, **dict(zip(names, (n, d or 0, lost or 0, m or 0, s), strict=True))}
        for bucket, n, d, lost, m, s in rows
    ]
    totals = {name: sum(span[name] for span in spans) for name in names[:-1]}
    return {
        "class": classname,
        "start": start,
        "span_s": width,
        **totals,
        "spans": spans,
        "drift": drift(store, classname, model),
    }


def drift(store: Store, classname: str, model: str) -> dict[str, Any]:
    """The first good parts that this model judged here against the last ones: medians, the chance of such a difference
    between parts that are alike (Mann and Whitney's test), and a warning, or None."""
    query = f"SELECT score, threshold FROM parts WHERE {_GOOD} ORDER BY number"
    first = store.select(f"{query} LIMIT {REFERENCE}", [classname, model])
    last = store.select(f"{query} DESC LIMIT {RECENT}", [classname, model])
    enough = f"SELECT 1 FROM parts WHERE {_GOOD} LIMIT {REFERENCE + RECENT}"
    count = store.select(f"SELECT count(*) FROM ({enough})", [classname, model])[0][0]
    reference = [score for score, _ in first][: max(0, count - RECENT)]
    if len(reference) < _LEAST_REFERENCE:
        needed = _LEAST_REFERENCE + RECENT
        return {"warning": None, "note": f"watched from {needed} good parts on; {count} so far"}
    recent = [score for score, _ in last]
    usual, now, threshold = float(np.median(reference)), float(np.median(recent)), last[0][1]
    chance = float(mannwhitneyu(reference, recent).pvalue)
    found = {"reference_median": usual, "recent_median": now, "chance": chance, "warning": None, "note": ""}
    room = abs(threshold - usual) if threshold is not None else abs(usual)
    if chance < _CHANCE and abs(now - usual) > _SHIFT * room:
        side = "higher" if now > usual else "lower"
        found["warning"] = (
            f"{classname}: the last {len(recent)} good parts score {side} than the first {len(reference)} (median "
            f"{now:.3g}, was {usual:.3g}); light, camera, backdrop or the part itself may have changed"
        )
    return found
