"""The version of the whole toolkit."""

VERSION = "0.2.0"
