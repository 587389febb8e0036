"""The reinforcement-learning controller of MnasNet (Tan et al. 2019): an LSTM trained with PPO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.history import History
from nas.strategies.base import Replay, fresh, sample_fresh
from search_spaces.space import SearchSpace


@dataclass(frozen=True)
class Controller:
    """A controller with one LSTM layer, which chooses each decision given the previous ones.

    The defaults are the paper's (section 3 and appendix: 100 units, learning rate 3.5e-4, entropy
    1e-5, baseline as a moving average of 0.95, batches of 20). The weights are initialised from
    `seed` and are a function of the history: a resumed search repeats the updates batch by batch.

    units           width of the LSTM.
    learning_rate   learning rate of Adam.
    entropy         weight of the entropy in the loss.
    baseline_decay  decay of the moving average of rewards.
    clip            clipping range of PPO.
    epochs          updates per batch.
    generation      genotypes per batch.
    seed            seed of the initial weights.
    """

    units: int = 100
    learning_rate: float = 3.5e-4
    entropy: float = 1e-5
    baseline_decay: float = 0.95
    clip: float = 0.2
    epochs: int = 4
    generation: int = 20
    seed: int = 0
    _state: Replay = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        replay = Replay(self._start, self._step, chunk=self.generation)
        object.__setattr__(self, "_state", replay)

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return at most `count` new feasible genotypes, int8 [k, decisions]."""
        policy = self._state(history)["policy"]
        found = np.empty((0, len(history.space.choices)), np.int8)
        for _ in range(10):
            drawn = policy.sample(max(2 * count, 20), rng)
            found = np.concatenate([found, fresh(drawn, history, taken=found)])
            if len(found) >= count:
                return found[:count]
        # a policy that has converged to networks of the history must still propose new ones
        return found if len(found) else sample_fresh(history, count, rng)

    def _start(self, history: History) -> dict[str, Any]:
        policy = Policy(history.space, units=self.units, seed=self.seed)
        adam = torch.optim.Adam(policy.parameters(), lr=self.learning_rate)
        return {"policy": policy, "adam": adam, "baseline": None}

    def _step(self, state: dict[str, Any], history: History, start: int, stop: int) -> dict:
        reward = history.reward[start:stop]
        valid = np.isfinite(reward)
        if not valid.any():
            return state
        genotypes, reward = history.genotypes[start:stop][valid], reward[valid]
        baseline = state["baseline"]
        baseline = reward.mean() if baseline is None else baseline
        advantage = torch.as_tensor((reward - baseline) / (reward.std() + 1e-6)).float()
        self._ppo(state["policy"], state["adam"], genotypes, advantage)
        decay = self.baseline_decay
        return {**state, "baseline": decay * baseline + (1 - decay) * reward.mean()}

    def _ppo(
        self, policy: Policy, adam: torch.optim.Adam, genotypes: np.ndarray, advantage: torch.Tensor
    ) -> None:
        before = policy.log_prob(genotypes)[0].detach()
        for _ in range(self.epochs):
            log_prob, entropy = policy.log_prob(genotypes)
            ratio = (log_prob - before).exp()
            clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
            gain = torch.minimum(ratio * advantage, clipped * advantage)
            loss = -(gain + self.entropy * entropy).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()


class Policy(nn.Module):
    """Autoregressive policy: p(genotype) = product over decisions of p(option | previous ones)."""

    def __init__(self, space: SearchSpace, *, units: int, seed: int) -> None:
        super().__init__()
        self.space = space
        counts = [int(count) for count in space.option_counts]
        self.offsets = np.cumsum([0, *counts])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(sum(counts) + 1, units)  # the last row is the start token
            self.lstm = nn.LSTM(units, units, batch_first=True)
            self.heads = nn.Linear(units, sum(counts))

    def log_prob(self, genotypes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log probability [n] and entropy [n] of genotypes [n, decisions].

        Decisions that have no effect on the network are left out.
        """
        tokens = torch.as_tensor(genotypes.astype(np.int64) + self.offsets[:-1])
        begin = torch.full((len(tokens), 1), int(self.offsets[-1]))
        hidden, _ = self.lstm(self.embed(torch.cat([begin, tokens[:, :-1]], 1)))
        logits = self.heads(hidden)
        total = entropy = torch.zeros(len(tokens))
        active = torch.as_tensor(self.space.active(genotypes))
        for column in range(tokens.shape[1]):
            low, high = self.offsets[column], self.offsets[column + 1]
            logp = logits[:, column, low:high].log_softmax(1)
            taken = logp.gather(1, (tokens[:, column] - low)[:, None])[:, 0]
            total = total + taken * active[:, column]
            entropy = entropy - (logp.exp() * logp).sum(1) * active[:, column]
        return total, entropy

    @torch.no_grad()
    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw genotypes, int8 [count, decisions]."""
        uniform = torch.as_tensor(rng.random((count, len(self.offsets) - 1)))
        genotypes = np.zeros(uniform.shape, np.int8)
        token = torch.full((count,), int(self.offsets[-1]))
        memory = None
        for column in range(genotypes.shape[1]):
            low, high = int(self.offsets[column]), int(self.offsets[column + 1])
            hidden, memory = self.lstm(self.embed(token)[:, None], memory)
            odds = self.heads(hidden[:, 0])[:, low:high].double().softmax(1).cumsum(1)
            option = (uniform[:, column : column + 1] > odds[:, :-1]).sum(1)
            # decisions without effect take their first option, as in the history
            option = option * torch.as_tensor(self.space.active(genotypes)[:, column])
            genotypes[:, column] = option.numpy()
            token = option + low
        return genotypes
