"""Finds unpacked npm packages: as `npm install --prefix DIR` leaves them, or `npm pack` and tar."""

from __future__ import annotations

from pathlib import Path

GOOGLE_EMOJI = "emoji-datasource-google"
TWITTER_EMOJI = "emoji-datasource-twitter"
FLAG_ICONS = "flag-icons"
ICONS = "@fortawesome/fontawesome-free"
SHORT_NAMES = {
    GOOGLE_EMOJI: "google",
    TWITTER_EMOJI: "twitter",
    FLAG_ICONS: "flags",
    ICONS: "icons",
}


def find_package(packages: Path | None, name: str) -> Path | None:
    """The folder with a package's files, or None where it is not at hand."""
    if packages is None:
        return None
    places = (
        packages / "node_modules" / name,
        packages / name / "package",
        packages / name,
        packages / SHORT_NAMES[name] / "package",
    )
    return next((place for place in places if place.is_dir()), None)
