"""What an installation measures and is told."""
