"""The report in a real browser: nothing scrolls sideways, every figure is drawn, nothing is complained of."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from tests.support.compared_runs import compared_page
from tests.support.customers_page import customers_html
from tests.support.report_pages import full_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a headless browser: apt-get install chromium, then run again"
)

# Run inside the page: what cannot be read off the markup. Ratios are those of WCAG 2.1, 1.4.3 and 1.4.11.
PROBE = """
<script>
const luminance = c => {
  const parts = c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const ratio = (one, other) => {
  const [a, b] = [one, other].map(luminance).sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
const ground = e => {
  for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const ownText = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
const isSeen = e => e.getClientRects().length > 0;
const name = e => e.textContent.trim().slice(0, 40);
const errors = [];
window.addEventListener('error', e => errors.push(String(e.message || e.target.outerHTML)), true);
window.addEventListener('load', () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const drawings = [...document.querySelectorAll('svg')];
  const words = [...document.body.querySelectorAll('*')].filter(e => ownText(e) && isSeen(e));
  const prose = words.filter(e => !e.closest('svg, script'));
  const labels = words.filter(e => e.matches('svg text'));
  const colour = e => rgb(getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color']);
  const low = [...prose, ...labels].filter(e => ratio(colour(e), ground(e)) < 4.5).map(name);
  const faint = [...document.querySelectorAll('circle, .dot')]
    .filter(e => ratio(e.matches('circle') ? colour(e) : rgb(getComputedStyle(e).backgroundColor),
                       ground(e.parentElement)) < 3).length;
  const scale = e => Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b);
  const small = labels.filter(e => parseFloat(getComputedStyle(e).fontSize) * scale(e) < 9).map(name);
  const cut = labels.filter(e => {
    const [inner, outer] = [e, e.closest('svg')].map(x => x.getBoundingClientRect());
    return inner.left < outer.left - 1 || inner.right > outer.right + 1
      || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
  }).map(name);
  const isDrawn = s => {
    const box = s.getBoundingClientRect(), shapes = [...s.querySelectorAll('path, circle, use')];
    return box.width > 100 && box.height > 50
      && shapes.some(e => e.getBoundingClientRect().width + e.getBoundingClientRect().height > 4);
  };
  const nav = document.querySelector('nav'), main = document.querySelector('main');
  const unnamed = drawings.filter(s => !(s.getAttribute('aria-label') || '').length).length;
  document.title = JSON.stringify({
    width: innerWidth, scroll: document.documentElement.scrollWidth, errors, low, faint, small, cut, unnamed,
    figures: drawings.length, drawn: drawings.filter(isDrawn).length, texts: words.length,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    beside: nav ? nav.getBoundingClientRect().right <= main.getBoundingClientRect().left : null,
  });
});
</script>
</head>"""
# What a browser of its own would do in the background.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def _seen(page: str, folder: Path, width: int, *flags: str) -> dict[str, object]:
    """Opens the page in a window of some width and returns the findings of the probe."""
    inner, frame = folder / "page.html", folder / "frame.html"
    inner.write_text(page.replace("</head>", PROBE, 1), encoding="utf-8")
    # A frame is as narrow as a phone; the window itself cannot be narrower than about 500 pixels.
    frame.write_text(
        f'<title>frame</title><iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>'
        "<script>const f = document.querySelector('iframe'); f.addEventListener('load', () => "
        "setTimeout(() => document.body.dataset.seen = f.contentDocument.title, 50));</script>",
        encoding="utf-8",
    )
    command = [
        *(
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
        ),
        *QUIET,
        *("--virtual-time-budget=3000", f"--user-data-dir={folder / 'profile'}", *flags),
        *("--dump-dom", frame.as_uri()),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    match = re.search(r'data-seen="([^"]*)"', ran.stdout)
    assert match, ran.stdout[-500:] + ran.stderr[-500:]
    seen: dict[str, object] = json.loads(unescape(match.group(1)))
    return {**seen, "console": re.findall(r"CONSOLE.*", ran.stderr)}


PHONE, SCREEN = 390, 1280
DARK = ("--force-dark-mode",)
FAULTS = """<!doctype html><html><head></head><body><main>
<script>console.error('broken')</script>
<img src="missing.png" alt="">
<p style="color: #aaa; background: #fff">pale</p>
<svg viewBox="0 0 900 90"><text font-size="12" y="20" fill="currentColor">tiny</text></svg>
<svg viewBox="0 0 90 90"><text font-size="12" y="20" fill="currentColor">cut off at the end</text></svg>
<svg viewBox="0 0 90 90"><circle cx="20" cy="20" r="9" fill="#ddd"></circle></svg>
<div style="width: 900px">wide</div>
</main></body></html>"""


@pytest.mark.parametrize(
    ("page", "width", "flags"),
    [
        pytest.param(full_page, PHONE, (), id="report on a light phone"),
        pytest.param(full_page, PHONE, DARK, id="report on a dark phone"),
        pytest.param(full_page, SCREEN, (), id="report on a light screen"),
        pytest.param(full_page, SCREEN, DARK, id="report on a dark screen"),
        pytest.param(compared_page, PHONE, (), id="comparison on a light phone"),
        pytest.param(compared_page, SCREEN, DARK, id="comparison on a dark screen"),
        pytest.param(customers_html, PHONE, (), id="customers on a light phone"),
        pytest.param(customers_html, SCREEN, DARK, id="customers on a dark screen"),
    ],
)
def test_the_page_is_whole_in_a_browser(
    page: Callable[[], str], width: int, flags: tuple[str, ...], tmp_path: Path
) -> None:
    seen = _seen(page(), tmp_path, width, *flags)
    assert seen["width"] == seen["scroll"] == width
    for complaint in ("errors", "console", "low", "small", "cut"):
        assert seen[complaint] == [], complaint
    assert (seen["faint"], seen["unnamed"]) == (0, 0)
    assert seen["figures"] == seen["drawn"] == page().count("<svg")
    assert seen["dark"] is bool(flags)
    if page is full_page:
        assert seen["beside"] is (width == SCREEN)


def test_the_probe_sees_what_is_wrong(tmp_path: Path) -> None:
    seen = _seen(FAULTS, tmp_path, PHONE)
    assert seen["console"]
    assert seen["errors"]
    assert (seen["low"], seen["small"], seen["cut"]) == (["pale"], ["tiny"], ["cut off at the end"])
    assert (seen["faint"], seen["unnamed"], seen["figures"], seen["drawn"]) == (1, 3, 3, 1)
    assert seen["scroll"] == 908
