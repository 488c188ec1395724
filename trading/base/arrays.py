"""Types of the NumPy arrays that the rooms pass to each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Labels = NDArray[np.int8]
Mask = NDArray[np.bool_]
Days = NDArray[np.datetime64]
