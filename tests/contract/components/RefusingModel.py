"""Seldon's exception with a status and a reason of the user's choice."""

from seldon_core.flask_utils import SeldonMicroserviceException


class RefusingModel:
    def predict(self, X, names, meta=None):
        if len(X) > 1:
            raise SeldonMicroserviceException("one row at a time", status_code=403, reason="TOO_MANY_ROWS")
        return X
