"""What workers share while they send."""
