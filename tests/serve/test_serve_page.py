"""The page in a real browser: typing, playing from the right second, the keyboard, a phone's width, no network."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from serve_helpers import RIGHT_TO_LEFT, folder_of_videos

from vtr import api
from vtr.finder import Finder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("fastapi", reason="the search page is an extra: pip install '.[serve]'")
    webdriver = pytest.importorskip("selenium.webdriver", reason="the browser test needs selenium")
if not CHROMIUM or not DRIVER:
    pytest.skip("the browser test needs chromium and chromedriver", allow_module_level=True)


@contextmanager
def served(embeddings: Path) -> Iterator[str]:
    """The address of a server over embeddings."""
    import socket

    import uvicorn

    from vtr.serve.app import make_app

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        app = make_app(Finder(embeddings, device="cpu"), "page")
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def address(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over spans of three videos."""
    root = tmp_path_factory.mktemp("page")
    folder_of_videos(root / "v")
    api.embed(run, None, root / "e", videos=root / "v", segments="1s/0.5s", device="cpu", precision="fp32")
    with served(root / "e") as at:
        yield at


@pytest.fixture(scope="module")
def open_browser() -> Iterator[Callable[..., Any]]:
    opened = []

    def start(width: int, height: int, *, phone: bool = False) -> Any:
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        # Every other name is nobody: whatever the page asked of the network would fail, and show in the log.
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
                     f"--window-size={width},{height}",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):  # fmt: skip
            options.add_argument(flag)
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2.0, "touch": True}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        opened.append(webdriver.Chrome(options=options, service=Service(DRIVER)))
        return opened[-1]

    yield start
    for browser in opened:
        browser.quit()


def until(browser: Any, script: str, seconds: float = 30.0) -> Any:
    """What `script` returns once that is true."""
    limit = time.monotonic() + seconds
    while not (found := browser.execute_script(f"return {script}")):
        assert time.monotonic() < limit, f"{script} is {found!r}; the page shows: {browser.page_source[:3000]}"
        time.sleep(0.1)
    return found


def test_typing_playing_and_the_keyboard(open_browser: Callable[..., Any], address: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = open_browser(1280, 900)
    browser.get(address)
    until(browser, "document.querySelectorAll('#examples button').length")
    assert browser.switch_to.active_element.get_attribute("id") == "query", "one can type at once"
    browser.switch_to.active_element.send_keys("/a red/blue circle")
    until(browser, "document.querySelectorAll('#hits article').length == 3")
    typed = browser.execute_script("return document.getElementById('query').value")
    assert typed == "a red/blue circle", "the / that goes to the box is no part of the text, one amid it is"
    assert "3 videos" in until(browser, "document.getElementById('status').textContent")
    text = browser.find_element(By.ID, "hits").text
    assert "several <i>things</i> move" in text, "a caption is text, never markup"
    assert "old.avi" in text
    assert "Pictures of the clip" in text, "what no browser plays is shown as pictures, and says so"

    # Down goes from the box to the first card; the clip under the cursor plays within its span, from its start.
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    playing = "[...document.querySelectorAll('#hits video')].find((v) => !v.paused && v.readyState > 1)"
    until(browser, f"{playing} && true")
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(
        "return [...document.querySelectorAll('article')].indexOf(document.activeElement)") == 1  # fmt: skip
    moment = browser.find_element(By.CSS_SELECTOR, ".moments button")
    browser.execute_script("arguments[0].click()", moment)
    until(browser, "document.querySelector('dialog').open")
    until(browser, "document.querySelector('dialog video').readyState > 1")
    at = until(browser, "document.querySelector('dialog video').currentTime")
    shown = browser.find_element(By.CSS_SELECTOR, "dialog p").text
    start = sum(int(part) * 60**place for place, part in enumerate(reversed(shown.split("–")[0].split(":"))))
    assert start <= at + 0.1, f"{shown} plays from {at}"
    browser.save_screenshot(str(tmp_path / "viewer.png"))
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(browser, "!document.querySelector('dialog').open")

    browser.execute_script("document.querySelectorAll('article')[0].focus()")
    browser.switch_to.active_element.send_keys("m")
    assert until(browser, "location.hash.startsWith('#like=')")
    until(browser, "!document.getElementById('like').hidden && document.querySelectorAll('#hits article').length == 2")
    browser.back()
    until(browser, "document.querySelectorAll('#hits article').length == 3")
    browser.save_screenshot(str(tmp_path / "desktop.png"))
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def test_a_phones_width(open_browser: Callable[..., Any], address: str, tmp_path: Path) -> None:
    browser = open_browser(390, 844, phone=True)
    browser.get(f"{address}/#q=a%20dog")
    until(browser, "document.querySelectorAll('#hits article').length == 3")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    columns = browser.execute_script("return getComputedStyle(document.getElementById('hits')).gridTemplateColumns")
    assert len(columns.split()) == 1
    small = browser.execute_script(
        "return [...document.querySelectorAll('article .more')].filter((b) => b.offsetHeight < 32).length"
    )
    assert small == 0, "fingers find the buttons"
    browser.save_screenshot(str(tmp_path / "phone.png"))
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


@pytest.mark.parametrize("phone", [False, True])
def test_captions_stay_text_and_in_their_place(
    open_browser: Callable[..., Any], address: str, tmp_path: Path, phone: bool
) -> None:
    browser = open_browser(390, 844, phone=True) if phone else open_browser(1280, 800)
    browser.get(f"{address}/#q=a%20dog")
    until(browser, "document.querySelectorAll('#hits article').length == 3")
    assert browser.title != "owned"
    captions = "[...document.querySelectorAll('.caption')]"
    arabic = f"{captions}.find((one) => one.textContent.includes('{RIGHT_TO_LEFT}'))"
    assert browser.execute_script(f"return getComputedStyle({arabic}).direction") == "rtl"
    assert "<script>" in browser.execute_script(f"return {arabic}.textContent")
    long = f"{captions}.find((one) => one.textContent.startsWith('verylong'))"
    assert browser.execute_script(f"return {long}.offsetHeight") < 100
    browser.execute_script(f"{long}.closest('article').click()")
    until(browser, "document.querySelector('dialog').open")
    bottom, width = browser.execute_script(
        "const close = document.querySelector('dialog .close').getBoundingClientRect();"
        "return [innerHeight - close.bottom, innerWidth - close.right]"
    )
    assert bottom >= 0, "the long caption scrolls, what closes the view does not"
    assert width >= 0
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.save_screenshot(str(tmp_path / "long.png"))


def test_more_are_shown_when_asked_for(
    open_browser: Callable[..., Any], run: Path, shards: Path, test_shards: Path, tmp_path: Path
) -> None:
    for at in (shards, test_shards):
        api.embed(run, at, tmp_path / "e", device="cpu", precision="fp32")
    browser = open_browser(1280, 800)
    with served(tmp_path / "e") as address:
        browser.get(f"{address}/#q=a%20dog")
        until(browser, "document.querySelectorAll('#hits article').length == 24")
        browser.execute_script("document.querySelector('article').id = 'first'")
        browser.execute_script("document.getElementById('further').click()")
        until(browser, "document.querySelectorAll('#hits article').length == 36")
        assert browser.execute_script("return document.querySelector('article').id") == "first", "it stays as it is"
        assert browser.execute_script("return document.getElementById('further').hidden")
        places = browser.execute_script(
            "return [...document.querySelectorAll('.score b')].map((score) => Number(score.textContent))"
        )
        assert places == sorted(places, reverse=True)


def test_an_export_of_one_video_has_none_like_it(open_browser: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    folder_of_videos(tmp_path / "v")
    api.embed(run, None, tmp_path / "e", videos=tmp_path / "v" / "long.mp4", device="cpu", precision="fp32")
    browser = open_browser(1280, 800)
    with served(tmp_path / "e") as address:
        browser.get(f"{address}/#like=0")
        assert until(browser, "document.getElementById('status').textContent") == "There is no other video here"


def test_why_the_server_refuses_is_told(open_browser: Callable[..., Any], address: str) -> None:
    browser = open_browser(800, 600)
    for where, why in (
        ("#like=99999", "there is no such row in these embeddings"),
        (f"#q={'x' * 2001}", "String should have at most 2000 characters"),
        ("#q=%20", "the query is empty \u2014 describe what to find"),
    ):
        browser.get("about:blank")
        browser.get(f"{address}/{where}")
        assert why in until(browser, "document.getElementById('status').textContent")


def test_a_server_that_has_gone_is_told_of(open_browser: Callable[..., Any], address: str) -> None:
    browser = open_browser(800, 600)
    browser.get(address)
    until(browser, "document.querySelectorAll('#examples button').length")
    browser.execute_script("window.fetch = () => Promise.reject(new TypeError('gone')); location.hash = '#q=x'")
    assert "still running" in until(browser, "document.getElementById('status').textContent")
