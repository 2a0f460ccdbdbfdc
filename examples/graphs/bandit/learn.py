"""Play the user of the bandit: take an offer now and then, send the reward, and print what the router chose.

python learn.py http://localhost:9000
"""

import json
import random
import sys
import urllib.request
from collections import Counter

NAMES = ("plain", "friendly", "pushy")
TAKEN = {0: 0.2, 1: 0.8, 2: 0.1}  # how often each offer is taken: what the router has to find out


def post(url, document):
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def learn(address, rounds=300, seed=1):
    """Ask and reward `rounds` times; the share of the best offer among the last hundred."""
    users = random.Random(seed)
    chosen = []
    for number in range(rounds):
        question = {"data": {"ndarray": [[number]]}}
        answer = post(f"{address}/api/v1.0/predictions", question)
        branch = answer["meta"]["routing"]["choose"]
        reward = 1.0 if users.random() < TAKEN[branch] else 0.0
        post(f"{address}/api/v1.0/feedback", {"request": question, "response": answer, "reward": reward})
        chosen.append(branch)
        if len(chosen) % 50 == 0:
            counts = Counter(chosen[-50:])
            print(
                f"{len(chosen):4d}  " + "  ".join(f"{NAMES[each]} {counts[each]:2d}" for each in range(3)), flush=True
            )
    return chosen[-100:].count(1) / 100


if __name__ == "__main__":
    best = learn(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:9000")
    print(f"the friendly offer was chosen {best:.0%} of the last 100 times")
