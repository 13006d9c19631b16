"""Where the settings, the data and the store are."""
