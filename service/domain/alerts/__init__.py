"""What editors and tools do with an alert: write, plan, approve, send, correct, stop."""
