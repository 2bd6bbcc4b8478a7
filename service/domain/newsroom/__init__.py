"""Articles, feeds, webhooks and publish hooks: what other programs read and call."""
