"""Proofs of outside providers: tokens, tickets and signatures, and who they speak for."""
