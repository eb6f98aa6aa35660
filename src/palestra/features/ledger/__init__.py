"""Ledger: double-entry money in integer minor units, append-only, idempotent for ever, sharing commits under load."""
