"""What can go wrong between an item and its vector, each with the field at fault and the mend."""

from __future__ import annotations


class SolomonError(Exception):
    """Base of every error that the model package raises on purpose."""


class InputError(SolomonError):
    """An item or option that cannot be embedded as given.

    `field` is the offending part of the item ("text", "image", "instruction", "route", ...), `reason`
    a stable machine-readable word, `message` what is wrong and `mend` what to do about it, both sentences.
    """

    def __init__(self, field: str, reason: str, message: str, mend: str) -> None:
        super().__init__(f"{message} {mend}")
        self.field, self.reason = field, reason
        self.message, self.mend = message, mend


class EmptyItem(InputError):
    """Neither text nor image."""


class TooLong(InputError):
    """The prompt has more tokens than the limit, and truncation was not asked for."""


class NotAnImage(InputError):
    """The bytes are not an image in a format that is accepted, or are cut short."""


class ImageTooLarge(InputError):
    """The image has more pixels or bytes than the limit."""


class QueueFull(SolomonError):
    """The queue is full, or too long for a deadline; `retry_after` estimates the seconds until it drains."""

    def __init__(self, retry_after: float, reason: str = "The queue is full") -> None:
        super().__init__(f"{reason}; try again in {retry_after:.1f} s.")
        self.retry_after = retry_after


class DeadlineExceeded(SolomonError):
    """The request's deadline passed before its vector was ready."""


class EngineStopped(SolomonError):
    """The engine was closed or its thread died."""


class NoSuchDevice(SolomonError, ValueError):
    """The device that was asked for is not on this machine; says what to do."""


class CheckpointError(SolomonError):
    """A checkpoint or base model that is missing, corrupt or of another format; says what to do."""


class DownloadError(SolomonError):
    """Weights could not be fetched or do not match their hash; says what to do."""
