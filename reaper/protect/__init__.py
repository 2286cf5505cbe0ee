"""What must be kept whatever the policies say: the images in use.

- `references`: what a reference of an image means, and which repository of a registry it names;
- `cluster`, `lists`: the sources (`source`); `pods` knows where objects of Kubernetes name images;
- `Protector`: all sources together, with a memory; `InUseWatch`: the same while a run deletes.
"""

from reaper.protect.cluster import ClusterSource, Kind
from reaper.protect.images import InUse
from reaper.protect.lists import CommandSource, FileSource
from reaper.protect.protector import Memory, Protection, Protector, SourceState
from reaper.protect.references import Aliases, ImageReference, parse_image
from reaper.protect.source import Source, SourceError, SourceKind
from reaper.protect.watch import InUseUnknownError, InUseWatch

__all__ = [
    "Aliases",
    "ClusterSource",
    "CommandSource",
    "FileSource",
    "ImageReference",
    "InUse",
    "InUseUnknownError",
    "InUseWatch",
    "Kind",
    "Memory",
    "Protection",
    "Protector",
    "Source",
    "SourceError",
    "SourceKind",
    "SourceState",
    "parse_image",
]
