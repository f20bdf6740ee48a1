"""Builds torch modules from config.json: the only room that imports torch."""
