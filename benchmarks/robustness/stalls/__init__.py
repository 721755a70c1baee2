"""Stalls: how long an innocent client waits while hostile bodies are decoded."""
