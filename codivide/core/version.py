"""The version of codivide, in its one place."""

VERSION = "0.1.0"
