"""What aecodec raises.

CodecError                  everything below; catch this one
├── FormatError             the bytes are not a sound .aec file
│   └── TruncatedError      the bytes end too early
├── UnsupportedError        a sound file that this version or these weights cannot decode
├── DigestError             a file that decodes here to another picture than where it was encoded
└── InputError              the caller's picture or option cannot be used

PictureWarning, a UserWarning, says what of a picture is not kept, and which target led to an end of the qualities.
"""

from __future__ import annotations


class CodecError(Exception):
    """Base of all errors of aecodec; the message is one line."""


class FormatError(CodecError):
    """The data is not a well-formed .aec file."""


class TruncatedError(FormatError):
    """The data ends before the length that it announces."""


class UnsupportedError(CodecError):
    """The file needs a newer format version, an unknown critical section or other weights."""


class DigestError(CodecError):
    """The decoded picture is not the one that the file has a digest of."""


class InputError(CodecError, ValueError):
    """A picture, option or weights file given by the caller cannot be used."""


class PictureWarning(UserWarning):
    """What is not kept of a picture, such as 16 bits or the other frames, or a target that leads to an end."""
