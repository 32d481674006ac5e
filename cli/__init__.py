"""The command aecodec; calls the public API alone."""
