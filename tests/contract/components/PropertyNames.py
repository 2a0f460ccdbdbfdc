"""class_names as a property, an answer as a plain list."""


class PropertyNames:
    @property
    def class_names(self):
        return ["left", "right"]

    def predict(self, X, names, meta):
        return [["a", 1.5] for _ in X]
