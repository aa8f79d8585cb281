"""The report in a real browser: nothing scrolls sideways, every figure is drawn, nothing is complained of."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_comparison import compared_page
from tests.unit.test_reports import full_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a headless browser: apt-get install chromium, then run again"
)

# Run inside the page: what cannot be read off the markup.
PROBE = """
<script>
const luminance = c => {
  const parts = c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const ground = e => {
  for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const errors = [];
window.addEventListener('error', e => errors.push(String(e.message)));
window.addEventListener('load', () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const texts = [...document.querySelectorAll('h1, h2, h3, p, td, th, small, span, dd, dt, li, strong')]
    .filter(e => e.textContent.trim() && e.getClientRects().length);
  const contrast = e => {
    const [a, b] = [rgb(getComputedStyle(e).color), ground(e)].map(luminance).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const low = texts.filter(e => contrast(e) < 4.5).map(e => e.textContent.trim().slice(0, 40));
  const figures = [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect());
  const found = {
    width: innerWidth, scroll: document.documentElement.scrollWidth, errors, low,
    figures: figures.length, drawn: figures.filter(b => b.width > 100 && b.height > 50).length,
    dark: matchMedia('(prefers-color-scheme: dark)').matches, texts: texts.length,
  };
  document.title = JSON.stringify(found);
});
</script>
</head>"""


def _seen(page: str, folder: Path, width: int, *flags: str) -> dict[str, object]:
    """Returns what the probe finds when the page is opened in a window of some width."""
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
        ),
        *("--virtual-time-budget=3000", f"--user-data-dir={folder / 'profile'}", *flags),
        *("--dump-dom", frame.as_uri()),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    match = re.search(r'data-seen="([^"]*)"', ran.stdout)
    assert match, ran.stdout[-500:] + ran.stderr[-500:]
    seen: dict[str, object] = json.loads(match.group(1).replace("&quot;", '"').replace("&amp;", "&"))
    return seen


@pytest.mark.parametrize(("width", "flags"), [(360, ()), (1280, ("--force-dark-mode",))])
@pytest.mark.parametrize(("page", "n_figures"), [(full_page, 16), (compared_page, 0)])
def test_the_page_is_whole_in_a_browser(
    page: object, n_figures: int, width: int, flags: tuple[str, ...], tmp_path: Path
) -> None:
    assert callable(page)
    seen = _seen(page(), tmp_path, width, *flags)
    assert seen["width"] == width
    assert seen["scroll"] == width
    assert seen["errors"] == []
    assert seen["low"] == []
    assert seen["figures"] == seen["drawn"] == n_figures
    assert seen["dark"] is bool(flags)
