"""docs/scoring.md's tables from benchmarks/results: python -m benchmarks.scoring_tables"""

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.results_file import RESULTS
from PAD_utils.report.sentences import percent

DOCUMENT = Path(__file__).parents[1] / "docs" / "scoring.md"
METRICS = ("image_auroc", "pixel_auroc", "aupro")
Row = tuple[str, ...]


def main() -> None:
    tables = {
        "means": means(),
        "classes": classes(),
        "decisions": decisions(),
        "ablation": ablation(),
        "speed": speed(),
    }
    text = DOCUMENT.read_text()
    for name, rows in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        filled = "\n".join((begin, markdown(rows), end))
        text, count = re.subn(f"{begin}.*?{end}", lambda _, filled=filled: filled, text, flags=re.DOTALL)
        assert count == 1, f"{DOCUMENT} has no place for {name}"
    DOCUMENT.write_text(text)


def means() -> list[Row]:
    """The means over the reported classes: all three metrics on clean pictures, image AUROC under every disturbance."""
    rows: list[Row] = []
    for kind, found in by_kind(scored("reported")).items():
        conditions = list(found[0]["conditions"])
        if not rows:
            rows.append(("features", "models", "classes", "score", *conditions))
        for score, name in (("paper", "paper's"), ("fast", "ours")):
            mean = {
                c: [sum(f["conditions"][c][score][m] for f in found) / len(found) for m in METRICS] for c in conditions
            }
            others = (f"{mean[c][0]:.4f}" for c in conditions[1:])
            rows.append((*kind, str(len(found)), name, slashed(mean[conditions[0]]), *others))
    return rows


def classes() -> list[Row]:
    """Every class, clean and under the condition that is worst for it."""
    head = ("features", "models", "class", "condition", "good", "defective", "paper's score", "ours", "false alarms")
    rows: list[Row] = [(*head, "misses", "unseen/seen, paper's and ours")]
    for kind, found in by_kind(scored("reported") + scored("tuning")).items():
        for figures in found:
            conditions = figures["conditions"]
            worst = min(conditions, key=lambda name, c=conditions: c[name]["fast"]["image_auroc"])
            for condition in dict.fromkeys(("clean", worst)):
                f = conditions[condition]
                both = [slashed([f[score][m] for m in METRICS]) for score in ("paper", "fast")]
                counts = [str(f[name]) for name in ("good", "defective")]
                errors = [str(f[name]) for name in ("false_alarms", "misses")]
                rows.append((*kind, f"{figures['class']}, {figures['width']} px", condition, *counts, *both, *errors))
                rows[-1] += (" / ".join(f"{figures['unseen_over_seen'][s]:.2f}" for s in ("paper", "fast")),)
    return rows


def decisions() -> list[Row]:
    """What the whole job decides, at poses that it found itself: false alarms and misses under every condition."""
    rows: list[Row] = []
    for path in sorted(RESULTS.glob("decision_*.json")):
        f, device = figures_of(path), json.loads(path.read_text())["machine"]["device"]
        if not rows:
            counted = ("class", "device", "features", "views", "good", "defective", "aimed at")
            rows.append((*counted, *f["conditions"], "image / pixel AUROC / AUPRO"))
        counts = [str(f[name]) for name in ("training_views", "good", "defective")]
        rate = percent(f["decision"]["false_alarm_rate"])
        wrong = (f"{c['false_alarms']} / {c['misses']}" for c in f["conditions"].values())
        rows.append((f["class"], device, f["features"], *counts, rate, *wrong, slashed([f[name] for name in METRICS])))
    return rows or [("no figures yet",)]


def ablation() -> list[Row]:
    """Image AUROC with single parts changed, means over the classes on which settings are chosen, and wrong decisions
    of all conditions together."""
    found = [figures_of(path) for path in sorted(RESULTS.glob("ablation_*.json"))]
    rows: list[Row] = []
    for features in found[0]["features"] if found else ():
        variants = [f["features"][features] for f in found]
        conditions = list(next(iter(variants[0].values())))
        if not rows:
            rows.append(("features", "change", *conditions, "false alarms", "misses"))
        for name in variants[0]:
            each = [v[name] for v in variants]
            means = (sum(v[c]["image_auroc"] for v in each) / len(each) for c in conditions)
            wrong = (sum(v[c][kind] for v in each for c in conditions) for kind in ("false_alarms", "misses"))
            rows.append((features, name, *(f"{mean:.4f}" for mean in means), *map(str, wrong)))
    return rows or [("no figures yet",)]


def speed() -> list[Row]:
    """Milliseconds a query."""
    rows: list[Row] = [("machine", "query", "in a batch", "alone", "processor time alone", "load")]
    for path in sorted(RESULTS.glob("scoring_speed_*.json")):
        content, f = json.loads(path.read_text()), figures_of(path)
        times = [f["in_batch"]["seconds"], f["alone"]["seconds"], f["alone"]["cpu_seconds"]]
        machine = f"{content['machine']['device']}, {content['machine']['cores']} cores"
        rows.append((machine, f"{f['size']} px", *(f"{1000 * t:.1f} ms" for t in times), f"{f['load_average']:.1f}"))
    return rows


def scored(role: str) -> list[dict[str, Any]]:
    """The figures of bench_scoring of the classes that have this role."""
    found = [figures_of(path) for path in sorted(RESULTS.glob("scoring_*.json"))]
    return [f for f in found if f.get("role") == role]


def by_kind(found: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By features and by whose preset trained the models."""
    kinds = sorted({(f["features"], f["trained_as"]) for f in found}, reverse=True)
    names = {"cuda": "GPU's preset", "cpu": "CPU's preset"}
    return {
        (features, names[trained_as]): [f for f in found if (f["features"], f["trained_as"]) == (features, trained_as)]
        for features, trained_as in kinds
    }


def figures_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["figures"]


def slashed(values: list[float]) -> str:
    return " / ".join(f"{value:.4f}" for value in values)


def markdown(rows: list[Row]) -> str:
    head, *others = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *others))


if __name__ == "__main__":
    main()
