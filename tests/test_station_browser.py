"""The station's page in a real browser: photographs are dropped, results appear, are filtered and marked."""

import base64
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser import BROWSER, NEEDS_BROWSER
from tests.station_class import GOOD, NAME, STAINED, served, settings, train

TOKEN = "a-token-of-this-test"
PATIENCE_MS = 60_000
# Files in the clipboard of a drag, as a browser hands them to a page.
DROP = """([target, files]) => {
  const held = new DataTransfer();
  for (const [name, content] of files) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    held.items.add(new File([bytes], name, { type: "image/png" }));
  }
  for (const kind of ["dragenter", "dragover", "drop"])
    document.querySelector(target).dispatchEvent(
      new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true }));
}"""

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, NAME)
    with served(settings(folder, folder / "store", classes=[NAME], token=TOKEN)) as address:
        yield address


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.problems = problems  # type: ignore[attr-defined]
        yield page
        browser.close()


def drop(page: Page, **files: bytes) -> None:
    held = [(f"{name}.png", base64.b64encode(content).decode()) for name, content in files.items()]
    page.evaluate(DROP, ["#drop", held])


def test_photographs_are_dropped_seen_filtered_and_marked(page: Page, address: str) -> None:
    page.goto(address)
    page.fill("input[name=token]", TOKEN)  # it asks for the token first
    page.click("button")
    expect(page.locator("#state")).to_have_text(f"{NAME} on cpu")
    assert page.url == f"{address}/"

    drop(page, good=GOOD, stained=STAINED)
    expect(page.locator(".card")).to_have_count(2)
    bad = page.locator(".card", has_text="stained.png")
    expect(bad.locator(".pill")).to_have_text("DEFECT")
    expect(page.locator(".card", has_text="good.png").locator(".pill")).to_have_text("OK")
    for kind in ("photograph", "heat"):
        image = bad.locator(f"img.{kind}")
        page.wait_for_function("image => image.complete && image.naturalWidth === 48", arg=image.element_handle())
    assert bad.locator(".box").count() >= 1
    expect(page.locator("#numbers")).to_contain_text("50.0 %")

    page.click("#chips [data-decision=OK]")
    expect(page.locator(".card h2")).to_have_text(["good.png"])
    page.click("#chips [data-decision='']")
    bad.locator("[data-label=good]").click()
    expect(bad.locator(".mistake")).to_have_text("false alarm")
    page.click("#chips [data-mistakes]")
    expect(page.locator(".card h2")).to_have_text(["stained.png"])
    page.click("#chips [data-decision='']")

    client = httpx.Client(base_url=address, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
    client.post(
        "/inspect", files={"picture": ("<img src=x onerror=alert(1)>.png", GOOD)}
    )  # another client's appears too
    expect(page.locator(".card h2").first).to_have_text("<img src=x onerror=alert(1)>.png")
    page.reload()
    expect(page.locator(".card")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_wrong_file_is_told_of_in_one_line(page: Page) -> None:
    drop(page, notes=b"no picture")
    expect(page.locator("#sending .problem")).to_have_text(
        "notes.png: no picture of a format that is read (PNG, JPEG, WebP, BMP, TIFF, HEIC)"
    )


def test_several_photographs_show_one_part(page: Page) -> None:
    page.check("#together")
    page.select_option("#class", NAME)
    drop(page, front=GOOD, back=STAINED)
    card = page.locator(".card", has_text="front.png, back.png")
    expect(card.locator(".pill")).to_have_text("DEFECT")
    expect(card.locator("figcaption")).to_have_text(["OK", "DEFECT"])
