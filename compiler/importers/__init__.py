"""Models of other systems as programs of the language."""

from compiler.importers.models import Settings, import_model
from compiler.importers.problems import ImportFailed

__all__ = ["ImportFailed", "Settings", "import_model"]
