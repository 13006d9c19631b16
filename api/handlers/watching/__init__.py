"""For whoever watches the fleet: figures, alerts, incidents, whether it lives."""
