"""Who may use the desk and the API, and how they sign in."""
