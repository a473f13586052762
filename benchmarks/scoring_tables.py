"""docs/scoring.md's tables from benchmarks/results/scoring.json: python -m benchmarks.scoring_tables"""

import json
from pathlib import Path

from benchmarks.results_file import RESULTS

DOCUMENT = Path(__file__).parents[1] / "docs" / "scoring.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
METRICS = ("image_auroc", "pixel_auroc", "aupro")


def main() -> None:
    figures = json.loads((RESULTS / "scoring.json").read_text())["figures"]
    before, rest = DOCUMENT.read_text().split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}")


def table(figures: dict) -> str:
    """One row per features, class and condition."""
    head = ("features", "class", "condition", "paper's score", "ours", "false alarms", "misses", "unseen/seen")
    rows = [head, ("---",) * len(head)]
    for features, classes in figures.items():
        for name, conditions in classes.items():
            for condition, f in conditions.items():
                both = [" / ".join(f"{f[score][m]:.4f}" for m in METRICS) for score in ("paper", "fast")]
                counts = [f"{f['false_alarms']} of {f['good']}", f"{f['misses']} of {f['defective']}"]
                rows.append((features, name, condition, *both, *counts, f"{f['unseen_over_seen']:.2f}"))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
