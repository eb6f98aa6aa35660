"""Rounds: games for stakes, from the hold to the payout, each with a record from which it can be worked out again."""
