"""Pages of alerts: the list, one alert while it is sent, its report, and what mends it."""
