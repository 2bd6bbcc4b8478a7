"""Articles, feeds, webhooks and hooks, and what editors have set."""
