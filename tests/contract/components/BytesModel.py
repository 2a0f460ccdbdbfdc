"""binData in, binData out."""


class BytesModel(object):
    def predict(self, X, features_names):
        assert isinstance(X, bytes)
        return X[::-1]
