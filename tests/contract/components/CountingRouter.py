"""A router that learns from feedback: the branch with the best mean reward wins."""

import logging

from seldon_core.user_model import SeldonComponent

log = logging.getLogger(__name__)


class CountingRouter(SeldonComponent):
    def __init__(self, n_branches=2):
        self.rewards = [0.0] * n_branches
        self.tries = [0] * n_branches

    def route(self, features, feature_names):
        means = [reward / tries if tries else 0.0 for reward, tries in zip(self.rewards, self.tries)]
        return means.index(max(means))

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        log.debug("feedback %s for branch %s", reward, routing)
        branch = routing or 0
        self.rewards[branch] += reward
        self.tries[branch] += 1
        return [branch, reward, 0 if truth is None else len(truth)]
