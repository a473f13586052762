"""The station as its clients meet it: over HTTP and by a watched folder, on a tiny trained class."""

import csv
import io
import json
import math
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import torch

from gaussian_splatting.pose.gauss_newton import DISTANCE_STEP
from gaussian_splatting.pose.types import object_center
from PAD_utils import UserError
from PAD_utils.station import models as models_module
from PAD_utils.station.application import make_application
from PAD_utils.station.models import Models
from PAD_utils.station.serve import serve
from PAD_utils.station.settings import Limits, parse_settings
from PAD_utils.station.station import Station
from tests.station_class import GOOD, NAME, OTHER, SIDE, STAINED, encoded, picture, served, settings, train

DOCS = Path(__file__).parent.parent / "docs" / "station.md"


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, NAME, OTHER)
    return folder


@pytest.fixture(scope="module")
def client(data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(settings(data_path, tmp_path_factory.mktemp("store"))) as address:
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client


def inspect(client: httpx.Client, *pictures: bytes, **fields: str) -> httpx.Response:
    files = [("picture", (f"{i}.png", content)) for i, content in enumerate(pictures)]
    return client.post("/inspect", files=files, data=fields)


def test_a_station_warms_up_for_the_distances_that_photographs_are_rounded_to(data_path: Path, tmp_path: Path) -> None:
    models = Models(settings(data_path, tmp_path), torch.device("cpu"))
    inspector = models.served[NAME].inspector
    center = object_center(inspector.gaussians).double()
    for steps in (-1, 0, 1):
        image = models_module._typical_picture(inspector, DISTANCE_STEP**steps)
        (found,) = inspector.localize(image[None]).estimates
        share = float((found.camera.center - center).norm()) / inspector.usual_distance
        assert found.converged and abs(math.log(share, DISTANCE_STEP) - steps) < 0.25, (steps, share)


def test_a_photograph_is_judged(client: httpx.Client) -> None:
    good, bad = inspect(client, GOOD).json(), inspect(client, STAINED).json()
    assert (good["class"], good["decision"]) == (bad["class"], "OK") == (NAME, "OK")
    assert bad["decision"] == "DEFECT" and bad["score"] > bad["threshold"] > good["score"]
    (photograph,) = bad["photographs"]
    (region, *_) = photograph["regions"]
    assert region["left"] <= 20 < 26 <= region["left"] + region["width"] and region["width"] < SIDE
    assert region["top"] <= 20 < 26 <= region["top"] + region["height"] and region["height"] < SIDE
    assert np.array(photograph["pose"]).shape == (4, 4)
    for kind, suffix in (("heat", "png"), ("photograph", "jpeg"), ("rendering", "jpeg")):
        answer = client.get(photograph[kind])
        assert answer.headers["content-type"] == f"image/{suffix}"
        shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (SIDE, SIDE, 3)
    heat = cv2.imdecode(np.frombuffer(client.get(photograph["heat"]).content, np.uint8), cv2.IMREAD_COLOR).sum(-1)
    assert heat[22, 22] > 300 and heat[2, 2] < 30


def test_several_photographs_of_a_part_are_one_answer(client: httpx.Client) -> None:
    part = inspect(client, GOOD, STAINED, **{"class": NAME}).json()
    assert [photograph["decision"] for photograph in part["photographs"]] == ["OK", "DEFECT"]
    assert part["decision"] == "DEFECT" and part["score"] == max(p["score"] for p in part["photographs"])


def test_the_class_is_recognized(client: httpx.Client) -> None:
    other = inspect(client, encoded(picture(seed=3))).json()
    assert (other["class"], other["decision"]) == (OTHER, "OK")
    asked = inspect(client, encoded(picture(seed=3)), **{"class": NAME}).json()
    assert (asked["class"], asked["decision"], asked["score"]) == (NAME, "NOT LOCALISED", None)
    assert asked["photographs"][0]["pose"] is None and "another object" in asked["photographs"][0]["reason"]
    nothing = inspect(client, encoded(np.full((SIDE, SIDE, 3), 255, np.uint8))).json()
    assert (nothing["class"], nothing["decision"]) == (None, "NOT LOCALISED")


def test_large_photographs_are_shrunk_and_their_regions_are_in_their_own_pixels(client: httpx.Client) -> None:
    large = cv2.resize(picture(stain=True), (5 * SIDE, 5 * SIDE), interpolation=cv2.INTER_NEAREST)
    small = inspect(client, STAINED, **{"class": NAME}).json()["photographs"][0]
    found = inspect(client, encoded(large), **{"class": NAME}).json()["photographs"][0]
    assert (found["width"], found["height"]) == (5 * SIDE, 5 * SIDE)
    assert found["regions"][0]["left"] == 5 * small["regions"][0]["left"]
    assert found["score"] == pytest.approx(small["score"], rel=1e-3)


def test_the_history_is_listed_filtered_and_exported(client: httpx.Client) -> None:
    ids = [inspect(client, content, **{"class": NAME}).json()["id"] for content in (GOOD, STAINED)]
    newest = client.get("/parts", params={"limit": 2}).json()
    assert [part["id"] for part in newest] == ids[::-1]
    older = client.get("/parts", params={"before": newest[0]["number"], "limit": 1}).json()
    assert older[0]["id"] == ids[0]
    assert client.get(f"/parts/{ids[1]}").json()["photographs"] == newest[0]["photographs"]
    assert all(part["decision"] == "OK" for part in client.get("/parts?decision=OK").json())
    rows = list(csv.DictReader(io.StringIO(client.get("/parts.csv").text)))
    assert [row["id"] for row in rows][-2:] == ids and float(rows[-1]["score"]) == newest[0]["score"]


def test_mistakes_are_marked_and_kept(client: httpx.Client) -> None:
    id = inspect(client, STAINED).json()["id"]
    assert client.post(f"/parts/{id}/label", json={"label": "good"}).json()["label"] == "good"
    assert id in [part["id"] for part in client.get("/parts?mistakes=true").json()]
    assert client.get("/statistics", params={"class": NAME}).json()["mistakes"] >= 1
    client.post(f"/parts/{id}/label", json={"label": None})
    assert id not in [part["id"] for part in client.get("/parts?mistakes=true").json()]
    assert client.post(f"/parts/{id}/label", json={"label": "fine"}).status_code == 422
    assert client.post(f"/parts/{'0' * 32}/label", json={"label": "good"}).status_code == 404


def test_pages_are_told_at_once(client: httpx.Client) -> None:
    told: list[str] = []
    listening = threading.Event()

    def listen() -> None:
        with httpx.stream("GET", f"{client.base_url}/events", timeout=60) as stream:
            for line in stream.iter_lines():
                listening.set()
                if line.startswith("data:"):
                    told.append(json.loads(line[5:])["id"])
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert listening.wait(20)
    id = inspect(client, GOOD).json()["id"]
    listener.join(20)
    assert told == [id]


def test_what_is_too_much_is_answered_503(data_path: Path, tmp_path: Path) -> None:
    limits = Limits(parts_in_flight=2)
    with (
        served(settings(data_path, tmp_path, limits=limits)) as address,
        httpx.Client(base_url=address, timeout=60) as c,
    ):
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(inspect(c, GOOD))) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 503} and codes.count(200) >= 2
        assert "waiting to be inspected" in next(a for a in answers if a.status_code == 503).json()["error"]
        assert c.get("/health").json()["waiting"] == 0


def test_a_watched_folder_is_inspected_once(data_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "before.png").write_bytes(GOOD)
    given = settings(data_path, tmp_path / "store", watch=folder)
    with served(given) as address, httpx.Client(base_url=address, timeout=60) as client:
        (folder / "after.png").write_bytes(STAINED)
        (folder / "cut.png").write_bytes(STAINED[:400])
        (folder / "notes.txt").write_text("no picture")
        found = wait_for(lambda: {p["photographs"][0]["name"]: p for p in client.get("/parts").json()}, 2)
        assert (found["before.png"]["decision"], found["after.png"]["decision"]) == ("OK", "DEFECT")
        assert found["after.png"]["source"] == "folder"
    (folder / "new.png").write_bytes(STAINED)
    with served(given) as address, httpx.Client(base_url=address, timeout=60) as client:  # knows the old ones
        assert len(wait_for(lambda: client.get("/parts").json(), 3)) == 3


def wait_for(ask, count: int):  # type: ignore[no-untyped-def]
    end = time.monotonic() + 40
    while len(found := ask()) < count and time.monotonic() < end:
        time.sleep(0.1)
    return found


def test_one_station_a_store_and_one_line_for_a_class_that_is_not_trained(data_path: Path, tmp_path: Path) -> None:
    _station = Station(settings(data_path, tmp_path))
    with pytest.raises(UserError, match="another station is at work"):
        Station(settings(data_path, tmp_path))
    with pytest.raises(UserError, match="99None is not trained: .*train_and_render.py -c 99None"):
        Station(settings(data_path, tmp_path / "other", classes=["99None"]))
    shutil.copytree(data_path, tmp_path / "damaged")
    (tmp_path / "damaged" / "results_splatpose_0" / NAME / "inspector" / "tensors.pt").write_bytes(b"")
    with pytest.raises(UserError, match="tensors.pt|inspector"):
        Station(settings(tmp_path / "damaged", tmp_path / "third"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--host 0.0.0.0", "needs a token"),
        ("--token short", "too short"),
        ("--certificate x.pem", "go together"),
        ("--watch /nowhere/at/all", "no such folder"),
        ("--port 70000", "--port"),
        ("--rate 0", "--rate"),
    ],
)
def test_a_wrong_command_line_is_refused(flags: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATION_TOKEN", raising=False)
    with pytest.raises(UserError, match=said):
        parse_settings(["-c", NAME, *flags.split()])


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match="needs the package uvicorn; pip install --group station"):
        serve(settings(tmp_path, tmp_path))


def test_the_docs_name_every_route(data_path: Path, tmp_path: Path) -> None:
    routes = make_application(Station(settings(data_path, tmp_path))).openapi()["paths"]
    served_here = {f"{method.upper()} {path}" for path, methods in routes.items() for method in methods}
    assert len(served_here) > 10
    assert set(re.findall(r"^\| `((?:GET|POST) /[^`]*)`", DOCS.read_text(), re.MULTILINE)) == served_here
