"""Times, time zones and what repeats."""
