"""The import surface of Seldon's Python wrapper, provided by infergraph.

Its modules are those that user code imports from; each says what it offers. Only `seldon_core.wrapper` and the flask
parts of `seldon_core.flask_utils` need Flask, and only when they are called.
"""

from .storage import Storage
from .version import __version__

__all__ = ["Storage", "__version__"]
