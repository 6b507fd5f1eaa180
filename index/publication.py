"""Which view searches get: the one that shows the change that their read of the log shows.

A change can be read in the log a moment before it is acknowledged. Its view is therefore made before the
commit and kept beside the current one, so that a search finds the view of whichever change its snapshot
of the log has, without waiting for the writer.
"""

from __future__ import annotations

from index.view import View


class Publication:
    """The current view, and that of a change that is being committed; for one writer and many readers."""

    def __init__(self, view: View) -> None:
        """Begin with a view that shows what the log shows."""
        self.current = view
        self._coming: View | None = None

    def announce(self, view: View) -> None:
        """Offer the view of a change that is about to be committed."""
        self._coming = view

    def show(self) -> None:
        """Make the view that was announced the current one: its change is committed."""
        if self._coming is not None:
            self.current = self._coming
        self._coming = None  # after `current`, so that a reader finds the view in one of them

    @property
    def settled(self) -> View | None:
        """The current view, while no change is being committed: every acknowledged one is in it."""
        return self.current if self._coming is None else None

    def settle(self, sequence: int) -> bool:
        """Make the view of the log's latest change the current one; False if there is none."""
        if self._coming is not None and self._coming.sequence != sequence:
            self._coming = None  # its change was not committed
        self.show()
        return self.current.sequence == sequence

    def replace(self, view: View) -> None:
        """Publish another view, with no change under way."""
        self.current = view
        self._coming = None

    def at(self, sequence: int) -> View | None:
        """The view of a change, or None if it is neither the current one nor the one that comes."""
        coming = self._coming  # before `current`: what has left here by now is there
        for view in (self.current, coming, self.current):
            if view is not None and view.sequence == sequence:
                return view
        return None
