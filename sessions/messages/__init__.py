"""What WhatsApp carries, as this program names it."""
