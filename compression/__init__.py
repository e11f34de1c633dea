"""Graph to smaller graph: passes, recipes, repair, distillation, search."""

import pkgutil

# Python 3.14 has a standard-library package of this name (PEP 784). A checkout on sys.path must extend it, not hide it.
__path__ = pkgutil.extend_path(__path__, __name__)
