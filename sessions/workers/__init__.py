"""Worker processes: brought up, watched, called back, ended."""
