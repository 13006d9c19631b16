"""The handlers of the routes, a file for each subject."""
