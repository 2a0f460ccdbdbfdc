"""The import surface of Seldon's Python wrapper, provided by infergraph.

Its modules are those that components import from; each says what it offers. Programs around components (the client, the
batch processor, the testers) come from another package, when they are first imported. Only what needs Flask or
prometheus_client asks for it, and only when it is called.
"""

from infergraph.compat import entry_point_modules

from .storage import Storage
from .version import __version__

__all__ = ["Storage", "__version__"]

entry_point_modules.install_finder(__name__)
