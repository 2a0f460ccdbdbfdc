"""A combiner that averages what its children answered."""

import numpy as np


class MeanCombiner(object):
    def aggregate(self, features_list, feature_names_list):
        print(feature_names_list)
        return np.mean(np.array(features_list), axis=0)

    def tags(self):
        return {"combined": True}
