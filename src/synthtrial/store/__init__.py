"""Immutable artifacts, image shards and trial records on disk."""
