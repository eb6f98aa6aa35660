"""Friendships: invitations, friends, blocks, and friends of friends."""
