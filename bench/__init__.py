"""Measurements of the data plane and of decisions, side by side with other proxies."""
