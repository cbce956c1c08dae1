"""The jobs of a study: what there is to train and to score, each with the key of its result.

A job says what to do; `study/jobs/` does it, on whatever machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from study.core.records import NO_DEGRADATION, Draw, Pairing, Params, Trial
from study.detectors import registry
from study.jobs.cell import CellJob
from study.jobs.draws import DrawCellJob, DrawsJob
from study.jobs.ensemble import EnsembleJob
from study.jobs.probe import ProbeJob
from study.jobs.trial import TrialJob
from study.jobs.winner import WinnerJob
from study.jobs.workspace import Workspace
from study.planning.keys import Keys, cell_key, draw_cell_key, ensemble_cell_key, ensemble_key
from study.planning.selection import SearchHistory
from study.planning.study import Study
from study.planning.warm_start import Starts
from study.search.driver import PairingSearch

WINNER = "winner"


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Makes the jobs of a study. searches: what is searched, by pairing. starts: of a warm
    start.
    """

    workspace: Workspace
    keys: Keys
    searches: Mapping[Pairing, PairingSearch]
    starts: Starts

    @property
    def study(self) -> Study:
        """The study whose jobs they are."""
        return self.keys.study

    def trial(
        self,
        pairing: Pairing,
        number: int,
        params: Params,
        proposed: Sequence[Params] = (),
        *,
        origin: str = "",
    ) -> TrialJob:
        """Return the job that trains `params` as trial `number` of a pairing's search. proposed:
        together with it. origin: where it was found, if in another pairing.
        """
        trial = replace(
            self._fit(pairing, number, params, origin or self._origin(pairing, number)),
            search=self.keys.rules(self.searches[pairing]),
        )
        return TrialJob(
            workspace=self.workspace,
            spec=self.keys.specs[pairing.detector],
            trial=trial,
            data_key=self.keys.data[pairing.train_on],
            workers=self.study.run.workers_per_trial,
            beside=self.keys.beside(pairing, params, proposed),
        )

    def _fit(self, pairing: Pairing, number: int, params: Params, origin: str) -> Trial:
        return Trial(
            key=self.keys.trial(pairing, number, params),
            pairing=pairing,
            number=number,
            params=params,
            seed=self.keys.seed(number),
            epochs=self.keys.epochs[pairing.train_on],
            origin=origin,
        )

    def _origin(self, pairing: Pairing, number: int) -> str:
        """Where the configuration of a trial comes from: the default, a warm start, the space's
        portfolio, the sampler.
        """
        origins = ["default", *(start.origin for start in self.starts.get(pairing, ()))]
        origins += ["portfolio"] * (len(self.searches[pairing].first) - len(origins))
        return origins[number] if number < len(origins) else self.study.search.sampler

    def winners(self, pairing: Pairing, history: SearchHistory) -> list[WinnerJob]:
        """Return the S jobs that retrain a pairing's selected configuration; [] while it has
        none.
        """
        winner = history.winner
        return self.retrained(pairing, winner.params, winner.number) if winner else []

    def retrained(
        self, pairing: Pairing, params: Params, winner_trial: int, *, role: str = WINNER
    ) -> list[WinnerJob]:
        """Return the S jobs that train `params` on a pairing with the winners' seeds. The same
        `params` give the same jobs.

        winner_trial: the trial of the pairing's own search that tried them, -1 for none. role: what
        the record calls the result.
        """
        spec = self.keys.specs[pairing.detector]
        # What low-rank matrices moved is merged in the end, and an epoch of theirs cannot be put
        # back.
        keeps = (
            self.study.run.keep_epochs
            and spec.learner == "gradient"
            and params.get("schedule") != "lora"
        )
        return [
            WinnerJob(
                workspace=self.workspace,
                spec=spec,
                trial=self._fit(pairing, -1 - seed, params, f"{role} seed {seed}"),
                data_key=self.keys.data[pairing.train_on],
                winner_seed=seed,
                winner_trial=winner_trial,
                keep_epochs=role == WINNER and keeps,
            )
            for seed in range(self.study.budget.seeds)
        ]

    def probe(self, pairing: Pairing) -> ProbeJob | None:
        """Return the job of the linear probe that a fine-tuned network is held against; None for a
        detector without a pretrained body that could be trained.
        """
        spec = self.keys.specs[pairing.detector]
        is_tuned = len(registry.schedules_of(pairing.detector)) > 1 and registry.body_key(spec)
        if spec.learner != "gradient" or not is_tuned:
            return None
        linear = {name: 0 for name in ("head_width",) if name in spec.options}
        spec = replace(spec, learner="logistic", options={**spec.options, **linear})
        trial = Trial(
            key=self.keys.probe(pairing, spec),
            pairing=pairing,
            number=-1,
            params={},
            seed=0,
            epochs=1,
            origin="linear probe on the frozen body",
        )
        data_key = self.keys.data[pairing.train_on]
        return ProbeJob(workspace=self.workspace, spec=spec, trial=trial, data_key=data_key)

    def draws(self, pairing: Pairing, history: SearchHistory) -> list[DrawsJob]:
        """Return the jobs that train a pairing's selected configuration on halves of its training
        groups and on permuted labels; [] while it has none. Those of linear heads on a frozen body
        are one job a kind.
        """
        winner = history.winner
        if winner is None:
            return []
        heads = self.keys.trains_heads(pairing, winner.params)
        pairs = self.replicates(pairing, heads=heads)
        halved = [Draw(kind="half", number=n, half=half) for n in range(pairs) for half in (0, 1)]
        nulls = range(self.null_models(heads=heads))
        permuted = [Draw(kind="permuted", number=n) for n in nulls]
        if heads:
            together = [tuple(draws) for draws in (halved, permuted) if draws]
        else:
            together = [(draw,) for draw in (*halved, *permuted)]
        return [self._draws(pairing, winner.params, draws, heads) for draws in together]

    def null_models(self, *, heads: bool) -> int:
        """Return how many models are trained on permuted labels: none in a further repeat, as one
        band is enough, and wider than that of a mean over repeats. heads: linear ones.
        """
        return 0 if self.keys.is_repeat else self.study.null_models_of(heads=heads)

    def replicates(self, pairing: Pairing, *, heads: bool = True) -> int:
        """Return how many pairs of halves there are of a pairing's training groups: 0 where these
        are too few. heads: as in `Study.replicates_of`.
        """
        wanted = self.study.replicates_of(pairing.detector, heads=heads)
        return wanted if wanted and self.workspace.catalog.can_be_halved(pairing.train_on) else 0

    def _draws(
        self, pairing: Pairing, params: Params, draws: tuple[Draw, ...], heads: bool
    ) -> DrawsJob:
        key, seed = self.keys.draws(pairing, params, draws)
        trial = Trial(
            key=key,
            pairing=pairing,
            number=-1,
            params=params,
            seed=seed,
            epochs=self.keys.epochs[pairing.train_on],
            origin=_origin_of(draws),
        )
        return DrawsJob(
            workspace=self.workspace,
            spec=self.keys.specs[pairing.detector],
            trial=trial,
            data_key=self.keys.data[pairing.train_on],
            draws=draws,
            draw_seed=self.keys.draw_seed,
            heads=heads,
        )

    def draw_cell(self, of: DrawsJob, test_on: str) -> DrawCellJob:
        """Return the job that scores the models of some draws on a clean test set. Raises
        FirewallError behind the firewall.
        """
        content = self.workspace.catalog.key(test_on, ("test",))
        threads = self.workspace.threads
        return DrawCellJob(
            workspace=self.workspace,
            of=of,
            test_on=test_on,
            scores_key=draw_cell_key(of.trial.key, test_on, content, threads=threads),
            data_key=content,
        )

    def untrained(self, pairing: Pairing) -> WinnerJob:
        """Return the job that builds a detector which is not trained."""
        is_published = self.keys.specs[pairing.detector].learner == "published"
        trial = Trial(
            key=self.keys.untrained(pairing.detector),
            pairing=pairing,
            number=-1,
            params={},
            seed=0,
            epochs=0,
            origin="published weights" if is_published else "not trained",
        )
        return WinnerJob(
            workspace=self.workspace,
            spec=self.keys.specs[pairing.detector],
            trial=trial,
            data_key="",
            winner_seed=0,
            winner_trial=-1,
        )

    def cell(self, model: str, test_on: str, degradation: str = NO_DEGRADATION) -> CellJob:
        """Return the job that scores a winner, given by its key, on a test set. Raises
        FirewallError behind the firewall.
        """
        content = self.workspace.catalog.key(test_on, ("test",))
        return CellJob(
            workspace=self.workspace,
            model=model,
            test_on=test_on,
            scores_key=cell_key(
                model, test_on, content, degradation, threads=self.workspace.threads
            ),
            data_key=content,
            degradation=degradation,
        )

    def ensemble_cell(
        self, pairing: Pairing, seed: int, models: Mapping[str, str], scores: Sequence[str]
    ) -> EnsembleJob:
        """Return the job that makes a cell of an ensemble. models: the keys of the winners with
        this seed, by member. scores: the keys of their cells, in the same order.
        """
        key = ensemble_key(pairing.detector, tuple(models), tuple(models.values()))
        return EnsembleJob(
            workspace=self.workspace,
            pairing=pairing,
            winner_seed=seed,
            members=tuple(models),
            models=tuple(models.values()),
            scores=tuple(scores),
            key=key,
            scores_key=ensemble_cell_key(key, scores),
        )


def _origin_of(draws: Sequence[Draw]) -> str:
    """What a model of one draw, or models of several, are trained on."""
    first = draws[0]
    if first.kind == "permuted":
        several = f"{len(draws)} permutations of the labels"
        return several if len(draws) > 1 else f"permuted labels {first.number + 1}"
    several = f"{len(draws) // 2} pairs of halves"
    return several if len(draws) > 1 else f"pair {first.number + 1}, half {first.half + 1}"
