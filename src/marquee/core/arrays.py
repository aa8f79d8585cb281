"""Names for the types of arrays; its user says what an array holds, and in which unit."""

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
# Signed, as -1 marks a place outside of a range.
IndexArray = npt.NDArray[np.int64]
# Half the memory of an index: no token table comes near 2**31 rows.
TokenArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
