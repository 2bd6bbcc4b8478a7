"""Words as readers see them."""
