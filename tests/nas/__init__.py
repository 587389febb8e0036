"""Tests of `nas`."""
