"""The embedded default: a small built-in model server run as a child like any other."""
