"""The web page: HTML, style and script, served as they are."""
