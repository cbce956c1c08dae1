"""The floor of a network: a linear probe on the same frozen body, judged on the same source val.

A detector whose body is trained should be no worse than one whose body is left as it came. The
probe is a logistic regression on the features that the store keeps, so it costs next to nothing. It
sees source train and val, nothing else, and it is in no matrix and in no ranking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from study.jobs.cell import image_scores
from study.jobs.trial import FitJob, fit_trial

STRENGTHS = (1e-3, 1e-2, 1e-1)  # inverse L2 strengths that are tried; the best on source val stays


@dataclass(frozen=True, kw_only=True)
class ProbeJob(FitJob):
    """A logistic regression on a frozen body. spec: of the detector, with that learner."""

    @property
    def result_key(self) -> str:
        """The key of the probe."""
        return self.trial.key

    def is_done(self) -> bool:
        """Tell whether the store has its scores on source val."""
        return self.workspace.store.has_probe(self.trial.key)


def run_probe(job: ProbeJob) -> None:
    """Fit the probe with every strength, and keep the best one's scores on source val."""
    if job.is_done():
        return
    found = []
    for strength in STRENGTHS:
        trial = replace(job.trial, params={"C": strength})
        _, val, result, _ = fit_trial(replace(job, trial=trial), lambda _: None)
        found.append((result.val_auc, image_scores(val, result.val_logit)))
    _, scores = max(found, key=lambda pair: pair[0])
    job.workspace.store.save_probe(job.trial.key, scores)
