"""Pages of the newsroom: its settings, its topics and how it does."""
