"""What axe-core finds wrong on a page in Chromium."""

from __future__ import annotations

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# Contrast is not checked where colours are forced. Of what is right, axe-core would return
# thousands of lines.
_RUN = """async (within) => {
  for (const one of within) {
    if (!document.querySelector(one)) throw new Error(`there is no ${one}`);
  }
  const forced = matchMedia("(forced-colors: active)").matches;
  const rules = { "color-contrast": { enabled: !forced } };
  const context = within.length ? { include: within.map((one) => [one]) } : document;
  const { violations } = await axe.run(context, { rules, resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
}"""


def faults(page: Page, *within: str) -> list[str]:
    """Return the violations within these elements, or on the whole page, once it is loaded."""
    page.wait_for_load_state()
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(_RUN, within)
    return found
