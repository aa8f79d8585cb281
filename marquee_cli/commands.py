"""Which module stands behind each word."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A word that `marquee` knows.

    Attributes:
        name: As a person types it.
        module: That `python -m` would start.
        what: What it does, on one line.
        extra: Of the package, without which it cannot start.
    """

    name: str
    module: str
    what: str
    extra: str

    @property
    def menu(self) -> str | None:
        """Name of its file in `configs/`; None where it has none."""
        is_composed = self.module.startswith("training.") and self.module != "training.report"
        return self.module.removeprefix("training.") if is_composed else None


COMMANDS = {
    command.name: command
    for command in (
        Command("download", "training.download", "fetch a published data set, and verify it", "train"),
        Command("simulate", "training.simulate", "tables of a simulated market, or flights on it", "train"),
        Command("dataset", "training.dataset", "from a service's event log to a training table", "train"),
        Command("prepare", "training.prepare", "tables of any size to arrays, in parts", "train"),
        Command("train", "training.train", "from a table of events to a checkpoint and a report", "train"),
        Command("tune", "training.tune", "search for settings on the validation part", "train"),
        Command("evaluate", "training.evaluate", "judge a run again, and hold it against a gate", "train"),
        Command("backtest", "training.backtest", "judge the model of a run at earlier times", "train"),
        Command("learning-curve", "training.learning_curve", "would more data help?", "train"),
        Command("report", "training.report", "set runs beside each other", "train"),
        Command("export", "training.export", "pack the best model of a run into a bundle", "train"),
        Command("make-key", "training.make_key", "make the keys by which bundles are signed", "train"),
        Command("publish", "training.publish", "bring a bundle to where it is served, or go back", "train"),
        Command("loop", "training.loop", "from a service's event log to its next release", "train"),
        Command("experiment", "training.experiment", "what came of an A/B test, or what it needs", "train"),
        Command("card", "training.card", "the card of a model: facts, words, gaps, leaks", "train"),
        Command("off-policy", "training.off_policy", "a candidate's value by another's log", "train"),
        Command("customers", "training.customers", "traits, audiences, a report, of a table", "customers"),
        Command("score", "training.score", "score users by a bundle, rows by traits", "train"),
        Command("follow-up", "training.follow_up", "speak to the members of audiences", "train"),
        Command("monitor", "training.monitor", "has what comes in changed? by two tables", "train"),
        Command("serve", "marquee_cli.serve", "serve a bundle over HTTP", "serve"),
        Command("keys", "serving.keys", "make a key that callers of the service send", "serve"),
        Command("mirror", "serving.mirror", "copy each release from elsewhere, verified", "serve"),
        Command("register", "serving.register", "copy a bundle into BentoML's model store", "serve"),
    )
}
