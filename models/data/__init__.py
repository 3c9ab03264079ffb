"""Data sets: `load` finds one by name or path, `Preprocessing` says how its raw values reach a network."""

from .arrays import load_arrays as load_arrays
from .dataset import Data as Data
from .dataset import InMemory as InMemory
from .loading import load as load
from .preprocessing import Preprocessed as Preprocessed
from .preprocessing import Preprocessing as Preprocessing
