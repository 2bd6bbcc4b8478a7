"""What workers and the clock do with an alert, and what its readers report."""
