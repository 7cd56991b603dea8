#!/usr/bin/python3
"""The web page in a real browser: Debian's Chromium, driven by Selenium.

    page.py [SCREENSHOT-FOLDER]    runs the checks, one line for each; with a folder it leaves pictures of the page there

Needs python3-gi, gir1.2-gst-rtsp-server-1.0, python3-selenium, chromium, chromium-driver, and a build with its examples.
"""

import json
import os
import pathlib
import sys
import tempfile
import time
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cameras import Camera, PASSWORD, Process, program

TOKEN = "page-0123456789abcdef0123456789"
PATIENCE = 60  # seconds for each step; a busy machine is slow

# Mean brightness of a picture of the page, 0 to 255.
MEAN = """
const picture = document.querySelector(arguments[0]);
if (!picture || !picture.naturalWidth) return null;
const canvas = document.createElement("canvas");
canvas.width = 64; canvas.height = 36;
const context = canvas.getContext("2d");
context.drawImage(picture, 0, 0, 64, 36);
const data = context.getImageData(0, 0, 64, 36).data;
let sum = 0;
for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
return sum / (64 * 36 * 3);
"""


class Page:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.file = pathlib.Path(self.folder.name, "service.toml")
        self.cameras = {name: Camera(name) for name in ("street", "yard", "locked")}
        self.file.write_text("".join([
            "# the page's test\n[http]\nlisten = '127.0.0.1:0'\ntoken-env = 'TOKEN'\n[rtsp]\nlisten = '127.0.0.1:0'\n",
            *(f"[camera.{name}]\naddress = '{camera.url}'\nencoder = 'x264'\n" for name, camera in self.cameras.items()),
            "user = 'guard'\npassword-env = 'WRONG'\n",
        ]))
        self.service = Process(program(), "--config", self.file, TOKEN=TOKEN, WRONG="geheim")
        self.address = self.service.wait_for("(http://.*)/")[1]
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-gpu"):
            options.add_argument(argument)
        options.binary_location = "/usr/bin/chromium"
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.browser = webdriver.Chrome(service=webdriver.chrome.service.Service("/usr/bin/chromedriver"), options=options)
        self.size(1280, 1000)
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        self.requests = set()
        self.complaints = []

    def end(self):
        self.browser.quit()
        self.service.end()
        for camera in self.cameras.values():
            camera.end()

    def size(self, width, height):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        })

    def part(self, camera, selector):
        return self.browser.find_element(By.CSS_SELECTOR, f"[data-camera={camera}] {selector}")

    def text(self, camera, selector):
        return self.part(camera, selector).text

    def mean(self, camera, side):
        return self.browser.execute_script(MEAN, f"[data-camera={camera}] .{side}")

    def slide(self, camera, name, value):
        self.browser.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.part(camera, f"[name={name}]"), value,
        )

    def click(self, element):
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def of(self, camera):
        with urllib.request.urlopen(f"{self.address}/api/cameras/{camera}") as answer:
            return json.load(answer)

    def collect(self):
        """What the browser has asked for and complained of since this was asked."""
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.add(message["params"]["request"]["url"])
        self.complaints += [entry["message"] for entry in self.browser.get_log("browser")]

    def picture(self, folder, name):
        if folder:
            data = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "jpeg", "quality": 82})["data"]
            import base64

            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            pathlib.Path(folder, f"{name}.jpg").write_bytes(base64.b64decode(data))


def until(what, condition):
    """Waits until a condition holds; what it gives."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if result := condition():
                return result
        except Exception as error:  # The page is being made.
            result = error
        assert time.monotonic() < end, f"not in {PATIENCE} s: {what}: {result}"
        time.sleep(0.1)


def tiles(page, _folder):
    """a tile for each camera, with its state"""
    page.browser.get(page.address)
    until("three tiles", lambda: len(page.browser.find_elements(By.CLASS_NAME, "tile")) == 3)
    for name in ("street", "yard"):
        until(f"{name} is live", lambda: page.text(name, ".state") == "live")
    until("the refusal is told", lambda: "refuses user and password" in page.text("locked", ".message"))
    until("the count", lambda: page.browser.find_element(By.ID, "summary").text == "2 of 3 live")


def pictures(page, _folder):
    """pictures before and after, the second one brighter, and the divider between them"""
    for name in ("street", "yard"):
        before = until("a picture", lambda: page.mean(name, "before"))
        until("it is brighter", lambda: page.mean(name, "after") > before * 1.3)
    before = page.mean("street", "before")
    page.browser.execute_script("""
        const split = document.querySelector("[data-camera=street] .split");
        split.value = 30; split.dispatchEvent(new Event("input", {bubbles: true}))""")
    style = page.browser.execute_script(
        "return getComputedStyle(document.querySelector('[data-camera=street] .before')).clipPath")
    assert "70%" in style, style
    until("pictures go on", lambda: page.mean("street", "before") != before)


def figures(page, folder):
    """figures that say what the service says"""
    # Not the first frames, beside which a browser starts.
    time.sleep(30 if folder else 0)
    page.picture(folder, "page")
    until("frames", lambda: float(page.text("street", ".figures div:nth-child(1) dd")) > 1)
    assert page.text("street", ".figures div:nth-child(4) dd") == "640×360"
    assert page.text("street", ".light") == "night"
    assert page.text("street", ".address").startswith("rtsp://127.0.0.1:")
    until("the ratio in use", lambda: abs(
        float(page.text("street", ".row output")) - page.of("street")["figures"]["ratio"]) < 0.3)


def locked(page, _folder):
    """a slider asks for the token; a wrong one is told, the right one changes the camera"""
    page.slide("street", "strength", 0.5)
    dialog = page.browser.find_element(By.ID, "token-dialog")
    until("the question", dialog.is_displayed)
    entry = page.browser.find_element(By.ID, "token")
    entry.send_keys("wrong-0123456789abcdef", Keys.TAB, Keys.TAB, Keys.ENTER)
    until("it is told", lambda: "wrong" in page.browser.find_element(By.ID, "token-why").text)
    assert page.of("street")["settings"]["strength"] == 1
    entry.send_keys(TOKEN, Keys.TAB, Keys.TAB, Keys.ENTER)
    until("it is changed", lambda: page.of("street")["settings"]["strength"] == 0.5)
    assert not dialog.is_displayed()


def live(page, _folder):
    """sliders act on the picture at once, and on no other camera"""
    page.slide("street", "strength", 1)
    page.click(page.part("street", "[name=auto]"))
    page.slide("street", "ratio", 0)
    until("ratio 1", lambda: page.of("street")["settings"]["ratio"] == 1)
    dark = until("it is dark", lambda: page.mean("street", "after") < page.mean("street", "before") * 1.2 and page.mean("street", "after"))
    page.part("street", "[name=ratio]").send_keys(*[Keys.ARROW_RIGHT] * 50)
    until("ratio 4.5", lambda: abs(page.of("street")["settings"]["ratio"] - 4.5) < 0.1)
    until("it is bright", lambda: page.mean("street", "after") > dark * 1.5)
    until("the number", lambda: page.text("street", ".row output") == "4.5")
    assert page.of("yard")["settings"]["ratio"] == "auto"
    assert page.part("street", "[name=brightness]").get_attribute("disabled")


def moved_meanwhile(page, _folder):
    """what is moved while a request is under way is sent, though that request fails"""
    page.browser.execute_script("""
        const real = window.fetch;
        window.fetch = (path, options) => {
            if (!options || options.method !== "PATCH") return real(path, options);
            window.fetch = real;
            return new Promise((_, reject) => setTimeout(() => reject(new Error("the network is gone")), 1500));
        }""")
    page.slide("street", "strength", 0.25)
    time.sleep(0.7)
    page.slide("street", "strength", 0.75)
    until("the later value", lambda: page.of("street")["settings"]["strength"] == 0.75)
    page.slide("street", "strength", 1)
    until("as before", lambda: page.of("street")["settings"]["strength"] == 1)


def timed(page, _folder):
    """a deadline acts when it is chosen or typed to its end; a wrong one is refused with the range, and the form shows what holds"""
    deadline = lambda camera="street": page.of(camera)["settings"]["deadline"]
    number = page.part("street", "[name=milliseconds]")
    assert not number.is_displayed()
    for choice, value in (("off", "off"), ("auto", "auto"), ("ms", 40)):
        page.browser.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
            page.part("street", "[name=deadline]"), choice,
        )
        until(f"deadline {value}", lambda: deadline() == value)
    until("a number", number.is_displayed)
    page.click(number)
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("1")
    time.sleep(2.5)
    assert deadline() == 40 and number.get_property("value") == "1", "half a number is no deadline"
    number.send_keys("50", Keys.ENTER)
    until("deadline 150", lambda: deadline() == 150)
    for wrong in ("0", "10001", "1.5", ""):
        page.browser.execute_script("arguments[0].textContent = ''", page.part("street", ".said"))
        number.send_keys(Keys.CONTROL, "a")
        number.send_keys(wrong or Keys.DELETE, Keys.ENTER)
        until("the range", lambda: "milliseconds from 1 to 10000" in page.text("street", ".said"))
        assert deadline() == 150, deadline()
        # Other settings go on.
        page.slide("street", "temporal", 0.5 if wrong else 1)
        until("temporal", lambda: page.of("street")["settings"]["temporal"] == (0.5 if wrong else 1))
    page.browser.execute_script("arguments[0].blur()", number)
    until("what holds is shown", lambda: number.get_property("value") == "150")
    assert deadline("yard") == "auto"


def saved(page, _folder):
    """settings are saved on request, and only then"""
    assert "ratio" not in page.file.read_text() and "deadline" not in page.file.read_text()
    button = until("save", lambda: page.part("street", "[name=save]").is_enabled() and page.part("street", "[name=save]"))
    page.click(button)
    until("it is told", lambda: page.text("street", ".said") == "saved")
    text = page.file.read_text()
    assert text.startswith("# the page's test\n") and "ratio = 4.5" in text and "deadline = 150\n" in text, text
    until("nothing to save", lambda: not page.part("street", "[name=save]").is_enabled())


def lost(page, _folder):
    """a camera that goes away is shown, the others go on, and it comes back"""
    camera = page.cameras["yard"]
    camera.end()
    until("it is told", lambda: page.text("yard", ".state") in ("lost", "calling"))
    until("how old the picture is", lambda: "s ago" in page.text("yard", ".veil"))
    assert page.text("street", ".state") == "live"
    page.cameras["yard"] = Camera("yard", camera.port)
    until("it is back", lambda: page.text("yard", ".state") == "live")


def look(page, folder):
    """it fits a screen and a phone"""
    page.browser.execute_script("scrollTo(0, 0)")
    for width, height in ((1280, 1000), (390, 844), (320, 568)):
        page.size(width, height)
        time.sleep(1.5)
        wide, inside, tile = page.browser.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth, document.querySelector('.tile').clientWidth]")
        assert wide <= inside == width, (wide, inside, width)
        assert tile > 280, tile
        if width == 390:
            page.browser.execute_script("document.querySelector('[data-camera=street]').scrollIntoView()")
            time.sleep(1.5)
            page.picture(folder, "phone")
    page.size(1280, 1000)


def closed(page, _folder):
    """nothing is asked of anybody else, nothing is complained of, and no secret is shown"""
    page.collect()
    strangers = {url for url in page.requests if not url.startswith((page.address + "/", "blob:" + page.address, "data:"))}
    assert page.requests and not strangers, strangers
    # A refused token or deadline, and a camera that has sent nothing yet, are answers and no faults.
    answers = (" 401 ", " 422 ", " 503 ")
    faults = [text for text in page.complaints if not any(answer in text for answer in answers)]
    assert not faults, faults
    text = page.browser.page_source
    for secret in (TOKEN, "geheim", PASSWORD):
        assert secret not in text, "a secret in the page"
        assert not any(secret in line for line in page.service.log), "a secret in the log"


def gone(page, _folder):
    """a service that has stopped is told"""
    assert page.service.end(15) == 0
    until("it is told", lambda: "does not answer" in page.browser.find_element(By.ID, "trouble").text)


def main():
    os.chdir(pathlib.Path(__file__).resolve().parents[2])
    page = Page()
    try:
        for check in (tiles, pictures, figures, locked, live, moved_meanwhile, timed, saved, lost, look, closed, gone):
            check(page, sys.argv[1] if len(sys.argv) > 1 else None)
            print("ok:", check.__doc__, flush=True)
    finally:
        page.end()


if __name__ == "__main__":
    main()
