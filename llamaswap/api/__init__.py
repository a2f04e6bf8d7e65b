"""The control plane: management API, logs, listings. The only room that knows Quart."""
