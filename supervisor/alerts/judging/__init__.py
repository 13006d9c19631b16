"""What is judged, and begins or ends an alert: figures, the supervisor's own parts."""
