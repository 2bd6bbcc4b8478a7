"""Pages on which an alert is written, reviewed, sent or kept."""
