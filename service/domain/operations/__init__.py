"""What an operator sees of an installation, and what moves with it."""
