"""The version of the whole toolkit."""

VERSION = "0.1.0"
