"""How readers are numbered, packed and kept: what the rest of the store builds on."""
