"""The tables, and the queries of each."""
