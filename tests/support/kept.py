"""What editors keep under a name, with ids that tests can write down."""

from __future__ import annotations

from service.domain.newsroom.webhooks import new_secret
from service.model.newsroom.publish_hooks import PublishHook
from service.runtime import Runtime
from service.store.alerts.templates import Template

KEPT = "templatetemp"  # the id of a template, and of a saved audience
PUBLISH_HOOK = "0123456789abcdef" * 2  # the id of a publish hook


def store_kept(runtime: Runtime) -> None:
    """Store a template, a saved audience and a publish hook."""
    template = Template(KEPT, "Kick-off", {"title": "Kick-off", "topics": ["sport"]}, "Ada", 1e9)
    runtime.store.templates.save(template, 100)
    runtime.store.saved_audiences.save(Template(KEPT, "Fans", {"topics": ["sport"]}, "Ada", 1e9), 9)
    sealed = runtime.publish_hooks._seals.seal(new_secret())
    paths = {"title": "title", "url": "url"}
    hook = PublishHook(PUBLISH_HOOK, "CMS", sealed, paths=paths, created_at=1e9, created_by="Ada")
    runtime.store.publish_hooks.add(hook)
