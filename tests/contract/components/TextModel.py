"""strData in, strData out; typing imports of the wrapper's era."""

from typing import Dict, List, Union


class TextModel(object):
    def predict(self, X: str, names: Union[List[str], None], meta: Dict = None) -> str:
        return X.upper()
