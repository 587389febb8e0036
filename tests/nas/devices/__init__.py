"""Tests of `nas.devices`."""
