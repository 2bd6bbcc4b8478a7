"""Pages of people and programs: how they sign in, and what they may do."""
