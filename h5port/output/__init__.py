"""Writes the output folder: safetensors, config.json, model.py, report.json, published at once."""
