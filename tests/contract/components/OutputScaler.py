"""An output transformer that reads the request's meta and tags its answers."""

from typing import Dict, Iterable, List, Union

import numpy as np
from seldon_core.user_model import SeldonComponent


class OutputScaler(SeldonComponent):
    def __init__(self, factor: float = 10.0):
        super().__init__()
        self.factor = factor
        self._puid = "none"

    def transform_output(
        self, X: np.ndarray, names: Iterable[str], meta: Dict = None
    ) -> Union[np.ndarray, List, str, bytes]:
        self._puid = (meta or {}).get("puid", "none")
        return X * self.factor

    def tags(self) -> Dict:
        return {"scaled_by": self.factor, "seen": self._puid}
