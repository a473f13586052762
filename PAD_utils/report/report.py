"""report.html: one file that opens anywhere, offline, and shows what a run found and how sure it may be."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import ArrayLike

from gaussian_splatting.parallel import parallel
from PAD_utils.evaluate.metrics import PRO_LIMIT
from PAD_utils.evaluate.parts import PartRow
from PAD_utils.files import write_text
from PAD_utils.report.cards import (
    CSS,
    DEFECT,
    NOT_LOCALISED,
    OK,
    Judged,
    ReportImage,
    cards,
    known_scores,
    usual_defect,
)
from PAD_utils.report.charts import Chart, curve_chart, directions, histogram_chart, short
from PAD_utils.report.rate import Rates, slider
from PAD_utils.report.scene import Scene, scene_data
from PAD_utils.report.sentences import rate_in_words

_METRICS = (
    ("image_auroc", "Image AUROC", "how surely defective images rank above good ones"),
    ("pixel_auroc", "Pixel AUROC", "how surely defective pixels rank above good ones"),
    ("aupro", "AUPRO", f"how much of each region is found, up to a false positive rate of {PRO_LIMIT:g}"),
)

_PARTS = 200  # that the table of parts shows


@dataclass(frozen=True)
class Whole:
    """What a report says of more than it shows: everything that was judged (None: the images that are shown), and how
    those were chosen ("": they are all); the rates of its slider; what was decided of parts; and the scene of its 3D
    view."""

    judged: Sequence[Judged] | None = None
    selection: str = ""
    rates: Rates | None = None
    parts: Sequence[PartRow] = ()
    scene: Scene | None = None


def write_report(
    path: str | Path,
    title: str,
    metrics: dict[str, Any],
    run: dict[str, Any],
    images: Sequence[ReportImage],
    threshold: float | None = None,
    gallery_poses: Sequence[ArrayLike] = (),
    whole: Whole | None = None,
) -> None:
    """Writes the report to `path`, atomically.

    `metrics` is the content of metrics.json, with `per_defect` and `curves` of `metrics.evaluate` where there are
    any; a metric that is None is shown with its reason in `undefined`. `run` is the content of run.json.
    `gallery_poses` are the training views (world_from_camera). `whole`: what else the page says. Raises UserError if
    the file cannot be written.
    """
    promised = (metrics.get("decision") or {}).get("false_alarm_rate")
    whole = whole or Whole()
    everything = images if whole.judged is None else whole.judged
    verdicts = _verdicts(everything, promised)
    scene, glaring = whole.scene, usual_defect(images, threshold)
    makers: list[Callable[[], Any]] = [
        lambda: scene and scene_data(scene, images, threshold, glaring),
        lambda: cards(images, threshold, everything, scene.page_bytes if scene else 0),
    ]
    space, shown = parallel(lambda make: make(), makers)
    context = {
        "title": title,
        "tiles": _tiles(metrics),
        "warnings": metrics.get("warnings") or (),
        "facts": _facts(metrics, everything, threshold),
        "verdicts": verdicts,
        "rocs": _roc_chart(metrics, verdicts),
        "pro": _pro_chart(metrics),
        "histogram": _histogram(everything, threshold),
        "globe": _globe(images, gallery_poses),
        "per_defect": _per_defect(metrics, everything),
        "cards": shown,
        "selection": whole.selection,
        "parts": worst_parts(whole.parts),
        "part_verdicts": _bars(Counter(part.decision for part in whole.parts)),
        "n_parts": len(whole.parts),
        "rates": slider(whole.rates, everything, threshold),
        "scene": space,
        "kinds": sorted({image.defect for image in images}),
        "labeled": any(image.label is not None for image in images),
        "details": list(_flat({"metrics": _plain(metrics), "run": run})),
        "run": run,
        "when": _when(run.get("end")),
    }
    write_text(path, page_template("page.html").render(context))


@functools.cache
def page_template(name: str) -> Template:
    """The template of a page, compiled once: that takes longer than filling it in."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("PAD_utils", f"report{folder}") for folder in ("/page", "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def worst_parts(parts: Sequence[PartRow]) -> list[dict[str, Any]]:
    """Rows of the table of parts, those that most need a look first, at most _PARTS of them."""
    concern = {DEFECT: 0, NOT_LOCALISED: 1, None: 2, OK: 3}

    def over(part: PartRow) -> float:
        return 0.0 if part.score is None or part.threshold is None else part.score - part.threshold

    ordered = sorted(parts, key=lambda part: (concern[part.decision], -over(part)))
    return [
        {
            "part": part,
            "css": CSS[part.decision],
            "score": "–" if part.score is None else short(part.score),
            "threshold": "–" if part.threshold is None else short(part.threshold),
        }
        for part in ordered[:_PARTS]
    ]


def _tiles(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """The three metrics, in percent, or a dash and the reason."""
    tiles = []
    for key, name, note in _METRICS:
        value, reason = metrics.get(key), (metrics.get("undefined") or {}).get(key, "not measured")
        tiles.append(
            {"name": name, "value": "–", "unit": "", "note": reason}
            if value is None
            else {"name": name, "value": f"{100 * value:.2f}", "unit": "%", "note": note}
        )
    return tiles


def _facts(metrics: dict[str, Any], images: Sequence[Judged], threshold: float | None) -> list[tuple[str, str, str]]:
    """(name, value, unit) of what a reader asks after the metrics; what is not known is left out."""
    seconds = metrics.get("seconds") or {}
    per_image = [seconds.get(f"{stage}_per_image") for stage in ("retrieve", "refine", "score")]
    known = [float(s) for s in per_image if s is not None]
    facts = [("Pictures", f"{len(images)}", "")]
    if threshold is not None:
        facts.append(("Threshold", short(threshold), ""))
    if known:
        facts.append(("Per picture", *_duration(sum(known))))
    for name, key in (("Training", "train"), ("Whole run", "total")):
        if seconds.get(key) is not None:
            facts.append((name, *_duration(float(seconds[key]))))
    if metrics.get("n_gaussians") is not None:
        facts.append(("Gaussians", f"{metrics['n_gaussians']:,}".replace(",", " "), ""))
    if metrics.get("train_psnr") is not None:
        facts.append(("Training PSNR", f"{metrics['train_psnr']:.1f}", "dB"))
    if metrics.get("given_poses_off_px") is not None:
        facts.append(("Given poses off by", f"{metrics['given_poses_off_px']['median']:.1f}", "px"))
    facts += [
        (name.capitalize(), str(metrics[name]), "")
        for name in ("preset", "features", "retrieval", "refiner")
        if metrics.get(name)
    ]
    return facts


def _when(iso: str | None) -> str | None:
    """A point in time as people write it; text of another form is left alone."""
    try:
        moment = datetime.fromisoformat(iso or "")
    except ValueError:
        return iso
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()


def _duration(seconds: float) -> tuple[str, str]:
    if seconds < 1:
        return f"{1000 * seconds:.0f}", "ms"
    if seconds < 120:
        return f"{seconds:.1f}", "s"
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}", "min"


def _verdicts(images: Sequence[Judged], promised: float | None) -> dict[str, Any]:
    """How many images got which decision, and how many of these are wrong as far as labels tell: count, of how many,
    and what that says of the rate (`promised`: that of false alarms)."""
    counts = Counter(image.decision for image in images)
    bars = _bars(counts)
    judged = [image for image in images if image.decision in (OK, DEFECT) and image.label is not None]
    good, bad = [i for i in judged if i.label == 0], [i for i in judged if i.label == 1]
    return {
        "bars": bars,
        "total": sum(count for _, _, count in bars),
        "misses": _share(sum(i.decision == OK for i in bad), len(bad), None),
        "false_alarms": _share(sum(i.decision == DEFECT for i in good), len(good), promised),
    }


def _bars(counts: Counter[str | None]) -> list[tuple[str, str, int]]:
    """(CSS class, decision, count); none are there too, for the slider may change that."""
    return [(CSS[d], d, counts[d]) for d in (DEFECT, OK, NOT_LOCALISED)]


def _share(count: int, of: int, promised: float | None) -> tuple[int, int, str]:
    return count, of, rate_in_words(count, of, promised) if of else ""


def _roc_chart(metrics: dict[str, Any], verdicts: dict[str, Any]) -> Chart | None:
    curves = metrics.get("curves") or {}
    named = (("image_roc", "image_auroc", "a", "images"), ("pixel_roc", "pixel_auroc", "b", "pixels"))
    lines = [(css, name, _percent(metrics[key]), curves[curve]) for curve, key, css, name in named if curve in curves]
    if not lines:
        return None
    (missed, bad, _), (alarms, good, _) = verdicts["misses"], verdicts["false_alarms"]
    point = (alarms / good, 1 - missed / bad, "decisions") if good and bad and "image_roc" in curves else None
    return curve_chart(lines, "false positive rate", "true positive rate", 1.0, point)


def _pro_chart(metrics: dict[str, Any]) -> Chart | None:
    curve = (metrics.get("curves") or {}).get("pro")
    if not curve:
        return None
    line = ("b", "regions", _percent(metrics["aupro"]), curve)
    return curve_chart([line], "false positive rate of pixels", "share of a region found", PRO_LIMIT)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _histogram(images: Sequence[Judged], threshold: float | None) -> Chart | None:
    groups = [
        (css, name, known_scores([i for i in images if i.label == label]))
        for label, css, name in ((0, "ok", "good"), (1, "defect", "defective"), (None, "none", "pictures"))
    ]
    return histogram_chart([(css, name, scores) for css, name, scores in groups if scores] or [("", "", [])], threshold)


def _globe(images: Sequence[ReportImage], gallery_poses: Sequence[ArrayLike]) -> dict[str, Any] | None:
    """Directions of the training views and, by card, of the test views."""
    gallery = [d for d in directions(gallery_poses) if d]
    test = [
        {"at": d, "card": i, "css": CSS[image.decision], "name": f"{image.defect}/{image.name}"}
        for i, (image, d) in enumerate(zip(images, directions([i.pose for i in images]), strict=True))
        if d
    ]
    return {"gallery": gallery, "test": test} if gallery or test else None


def _per_defect(metrics: dict[str, Any], images: Sequence[Judged]) -> list[dict[str, Any]]:
    """A row for each kind of image: its metrics against the good images, and its decisions."""
    measured = metrics.get("per_defect") or {}
    rows = []
    for kind in sorted({image.defect for image in images}, key=lambda k: (k == "good", k)):
        members = [image for image in images if image.defect == kind]
        figures = [measured.get(kind, {}).get(key) for key, *_ in _METRICS]
        bars = _bars(Counter(image.decision for image in members))
        rows.append({"kind": kind, "n": len(members), "figures": figures, "bars": bars})
    return rows


def _plain(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics without what the page shows as charts and tables."""
    return {key: value for key, value in metrics.items() if key not in ("curves", "per_defect")}


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested dictionaries as (dotted name, text)."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flat(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, (list, tuple)):
        return [(name, ", ".join(str(v) for v in value) or "–")]
    return [(name, "–" if value is None else str(value))]
