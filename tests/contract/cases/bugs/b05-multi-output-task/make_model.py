# Writes model.joblib: two targets, two classes each, probabilities that tell rows apart.
import joblib
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

X = np.array([[0.0], [1.0], [2.0], [3.0]])
Y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
joblib.dump(KNeighborsClassifier(1).fit(X, Y), "model.joblib")
