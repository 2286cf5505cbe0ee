"""Registry products that tell more than the distribution API does, each behind one small interface."""

from reaper.registry.products.base import Fact, Product
from reaper.registry.products.options import AUTO, WITHOUT, ProductOptions

__all__ = ["AUTO", "WITHOUT", "Fact", "Product", "ProductOptions"]
