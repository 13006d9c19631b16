"""What sessions need of a host, what it has of it (facts, limits), and how many more fit."""
