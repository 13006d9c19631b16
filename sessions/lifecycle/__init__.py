"""One session's life: states, inbox, actor, worker slot, adoption."""
