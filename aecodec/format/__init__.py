"""The bytes of a file: container, metadata, alpha, digest, rescue. docs/format.md is the normative text."""
