"""Who is let in, and how many: before any handler."""
