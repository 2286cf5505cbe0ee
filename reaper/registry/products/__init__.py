"""Registry products that tell more than the distribution API does, each behind one small interface."""

from reaper.registry.products.base import DigestTime, Fact, Product, RepositoryTimes, TagTime

__all__ = ["DigestTime", "Fact", "Product", "RepositoryTimes", "TagTime"]
