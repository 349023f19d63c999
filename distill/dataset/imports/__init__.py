"""Conversations from elsewhere as rollouts."""
