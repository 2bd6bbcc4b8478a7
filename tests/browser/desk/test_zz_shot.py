import pytest
from service.model import clock
from tests.support.feeds import ID, store_feed
from service.model.feed_states import FeedState, HubSubscription
from dataclasses import replace


def test_shot(desk, installation):
    runtime = installation.runtime
    store_feed(runtime)
    now = clock.time()
    state = replace(
        FeedState(),
        read_at=now - 60,
        tried_at=now - 60,
        hub="https://hub.example/",
        title="The Paper",
    )
    hub = HubSubscription("https://hub.example/push", "t", "f", "tok", now - 600, refused="403")
    runtime.store.redis.hset(
        f"{{g}}:feed:{ID}", mapping={"state": state.as_json(), "hub": hub.as_json()}
    )
    base = desk.url.split("/desk")[0]
    for name, size, dark in (
        ("1280", (1280, 900), False),
        ("390", (390, 800), False),
        ("dark", (1280, 900), True),
    ):
        desk.set_viewport_size({"width": size[0], "height": size[1]})
        desk.emulate_media(color_scheme="dark" if dark else "light")
        desk.goto(f"{base}/desk/feeds/{ID}")
        desk.screenshot(path=f"/tmp/scr/wired14/feed-{name}.png", full_page=True)
        desk.goto(f"{base}/desk/feeds")
        desk.screenshot(path=f"/tmp/scr/wired14/feeds-{name}.png", full_page=True)
