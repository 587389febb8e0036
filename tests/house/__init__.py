"""Tests of the structure of the source, and counts about it."""
