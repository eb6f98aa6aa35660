"""Wallets: whole-number balances per player and asset that are never negative."""
