"""Tells others about runs: webhooks."""
