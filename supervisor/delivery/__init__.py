"""What happens reaches those who asked for it: webhooks, fed from the numbered event log."""
