"Reading a site without a browser, and driving a headless Chromium over its debugging socket."
import contextlib, json, shutil, subprocess, time, urllib.request
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


class Page(HTMLParser):
    "What a page links to, loads, names and says."
    def __init__(self, path: Path):
        super().__init__()
        self.path, self.language, self.ids = path, "", set()
        self.links, self.loads, self.images = [], [], []
        self.values, self.text, self.headings, self.open = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.open.append(tag)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "html": self.language = given.get("lang", "")
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"): self.headings.append(int(tag[1]))
        if tag == "a" and "href" in given: self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "canonical",
                                                      "author"):
            self.loads.append(given["href"])
        self.loads += [given[name] for name in ("src", "srcset", "poster", "data") if given.get(name)
                       and tag != "a"]
        if tag == "img": self.images.append(given)
        if "data-value" in given: self.values.append(given["data-value"])

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["title"]): self.text.append(data)

    def handle_endtag(self, tag): self.open.append("/" + tag)


def read_pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))
            if "_static" not in path.parts}


def follow_links(site: Path, pages: dict[str, Page]) -> tuple[int, list]:
    "How many local links there are, and those that lead nowhere: no such file, or no such place on its page."
    broken, checked = [], 0
    for name, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto", "data", "javascript"): continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            found = target.is_file() and target.is_relative_to(site)
            if found and parts.fragment and target.suffix == ".html":
                found = unquote(parts.fragment) in pages[target.relative_to(site).as_posix()].ids
            checked += 1
            if not found: broken.append((name, link))
    return checked, broken


CUT_OFF = """[...document.querySelectorAll('.bd-article *')].filter(e => {
    if (e.getBoundingClientRect().right <= 391) return false
    for (let box = e; !box.matches('.bd-article'); box = box.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(box).overflowX) || box.closest('math, svg'))
            return false
    return true }).map(e => e.outerHTML.slice(0, 80))"""   # elements that leave a narrow page


class Browser:
    "A headless Chromium, spoken to over its debugging socket."
    def __init__(self, executable: str, profile: Path):
        import websocket
        self.process = subprocess.Popen([executable, "--headless", "--no-sandbox", "--disable-gpu",
                                         "--no-first-run", "--disable-background-networking",
                                         "--disable-component-update", "--disable-sync",
                                         "--disable-features=BackForwardCache",   # it starts a new process
                                         "--remote-debugging-port=0", f"--user-data-dir={profile}",
                                         "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = profile / "DevToolsActivePort"
        for _ in range(300):
            if port.is_file() and port.read_text().strip(): break
            time.sleep(0.1)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json/new?about:blank"
        with urllib.request.urlopen(urllib.request.Request(address, method="PUT")) as answer:
            target = json.load(answer)
        self.socket = websocket.create_connection(target["webSocketDebuggerUrl"], suppress_origin=True,
                                                  timeout=60)
        self.calls, self.events = 0, []
        for domain in ("Page", "Runtime", "Log", "Network"): self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        self.calls += 1
        self.socket.send(json.dumps(dict(id=self.calls, method=method, params=parameters)))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.calls: return message.get("result", message)
            self.events.append(message)

    def prefer(self, scheme: str) -> None:
        self.call("Emulation.setEmulatedMedia", features=[dict(name="prefers-color-scheme", value=scheme)])

    def look(self, url: str, width: int = 1280, scheme: str = "light") -> None:
        "Opens a page and waits until it has loaded, and a moment more for what its scripts do."
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                  mobile=width < 600)
        self.prefer(scheme)
        self.call("Page.navigate", url=url)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(json.loads(self.socket.recv()))
        self.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 150))",
                  awaitPromise=True)

    def value(self, expression: str):
        "What JavaScript returns; None while one page makes room for the next, when nothing can be evaluated."
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value") if "result" in found else None

    def wait(self, condition: str, seconds: float = 20) -> bool:
        "Whether the condition, in JavaScript, comes true."
        until = time.monotonic() + seconds
        while not (came := bool(self.value(condition))) and time.monotonic() < until: time.sleep(0.1)
        return came

    def click(self, selector: str) -> None:
        "Clicks the middle of an element as a hand would, after bringing it into sight."
        x, y = self.place(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def place(self, selector: str) -> tuple[float, float]:
        "The middle of an element, once it is in sight and the page's scripts know that it scrolled."
        found = json.dumps(selector)
        scroll = f"document.querySelector({found}).scrollIntoView({{block: 'center', behavior: 'instant'}})"
        wait = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.call("Runtime.evaluate", expression=f"{scroll}; {wait}", awaitPromise=True)
        return tuple(self.value("(r => [r.x + r.width / 2, r.y + r.height / "
                                f"2])(document.querySelector({found}).getBoundingClientRect())"))

    def complaints(self) -> list:
        "Errors on the console, dialogues, and requests for anything but a file."
        wrong = []
        for event in self.events:
            method, given = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"): wrong.append(event)
            if method == "Runtime.consoleAPICalled" and given["type"] == "error": wrong.append(event)
            if method == "Log.entryAdded" and given["entry"]["level"] == "error": wrong.append(event)
            if method == "Network.requestWillBeSent":
                url = given["request"]["url"]
                if urlsplit(url).scheme not in ("file", "data", "about", "blob"): wrong.append(url)
        return wrong

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)


@contextlib.contextmanager
def open_browser(tmp_path_factory):
    "A browser to look at pages with; the test is skipped where there is none."
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not executable: pytest.skip("no chromium on this machine: the site was not looked at in a browser")
    pytest.importorskip("websocket")
    browser = Browser(executable, tmp_path_factory.mktemp("chromium"))
    try: yield browser
    finally: browser.close()
