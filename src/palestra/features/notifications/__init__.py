"""Notifications: a player's inbox, and telling those who are connected at once."""
