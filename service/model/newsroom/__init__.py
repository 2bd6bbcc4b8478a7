"""Articles, feeds, webhooks and publish hooks."""
