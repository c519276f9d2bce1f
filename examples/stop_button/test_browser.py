"""The page in a real browser: somebody asks, reads the first words, and presses stop."""

from collections.abc import Iterator

import pytest

from examples.stop_button.app import STORY
from examples.stop_button.chromium import NAMES, Page, chromium_page, found
from trubrics_trace import PromptRecord
from trubrics_trace.testing import assert_tracked

ANSWER = "document.querySelector('#answer').textContent"


@pytest.fixture
def page() -> Iterator[Page]:
    """Open a browser, where there is one."""
    browser = found()
    if browser is None:
        pytest.skip(f"no browser is here: none of {', '.join(NAMES)}")
    with chromium_page(browser) as page:
        yield page


def test_stop_is_pressed(
    page: Page, captured_prompts: list[PromptRecord], url: str
) -> None:
    """Whoever presses stop has one record, with what they read; the next has their own."""
    page.open(url)
    page.write("#user", "carol")
    page.press("#ask")
    page.wait_for(f"{ANSWER}.length > 5")
    page.press("#stop")
    page.wait_for(f"{ANSWER}.endsWith(' … stopped.')")
    read = page.value_of(ANSWER).removesuffix(" … stopped.")

    page.write("#user", "dave")
    page.press("#ask")
    page.wait_for(ANSWER, STORY)
    page.wait_for("document.querySelector('#stop').disabled")

    assert len(captured_prompts) == 2
    stopped = assert_tracked(captured_prompts, user_id="carol", status="cancelled")
    assert stopped.generation
    assert STORY.startswith(read)
    assert STORY.startswith(stopped.generation)
    assert len(read) <= len(stopped.generation) < len(STORY)
    assert_tracked(captured_prompts, user_id="dave", status="complete", generation=STORY)
