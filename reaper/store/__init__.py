"""The database: manifest cache, observations, undo journal, images in use, runs and locks."""

from reaper.store.engine import Store, open_store
from reaper.store.errors import LockedError, StoreError
from reaper.store.events import EventKind, Events, ManifestEvent
from reaper.store.in_use import ImagesInUse
from reaper.store.journal import (
    PARTS,
    Action,
    Collectable,
    Journal,
    JournalEntry,
    JournalLine,
    LeftOver,
    NewEntry,
    State,
)
from reaper.store.locks import Lock, Locks
from reaper.store.manifests import CachedManifest, Manifests
from reaper.store.observations import (
    ManifestRecord,
    Observations,
    RepositoryRecord,
    RepositorySummary,
    TagRecord,
)
from reaper.store.runs import INTERRUPTED, RUNNING, RunRecord, Runs

__all__ = [
    "INTERRUPTED",
    "PARTS",
    "RUNNING",
    "Action",
    "CachedManifest",
    "Collectable",
    "EventKind",
    "Events",
    "ImagesInUse",
    "Journal",
    "JournalEntry",
    "JournalLine",
    "LeftOver",
    "Lock",
    "LockedError",
    "Locks",
    "ManifestEvent",
    "ManifestRecord",
    "Manifests",
    "NewEntry",
    "Observations",
    "RepositoryRecord",
    "RepositorySummary",
    "RunRecord",
    "Runs",
    "State",
    "Store",
    "StoreError",
    "TagRecord",
    "open_store",
]
