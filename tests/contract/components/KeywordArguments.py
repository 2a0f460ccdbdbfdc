"""predict(self, X, **kwargs): whatever else is offered comes by keyword."""


class KeywordArguments:
    def predict(self, X, names, **kwargs):
        return {"given": sorted(kwargs), "rows": len(X)}
