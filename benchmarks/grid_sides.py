"""The ways to run a grid that :mod:`grid_overhead` compares, each a process of its own.

    python grid_sides.py SIDE SPEC RESULT

``SPEC`` is a JSON file that :mod:`grid_overhead` writes; ``RESULT`` is where the trials' times go.
Every side but synthtrial's trains with :func:`train_bare`, written by hand as one would for this
one purpose. Each notes when its trials began and ended, when it was ready to start the first, and
when all was over.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
Record = dict[str, Any]
COLUMNS = ("trial_id", "validation")
REPORT_SECONDS = 1.0  # of work that the engine ray's processes report together
HEARD_SECONDS = 0.2  # in which the driver hears of all trials of a report


@cache
def _load(arrays: str) -> dict[str, Any]:
    import numpy as np

    with np.load(arrays) as file:
        return dict(file)


def train_bare(spec: Spec, number: int) -> Record:
    """Train one trial by hand and return its times and best validation accuracy.

    As synthtrial does: validation loss and accuracy after every epoch, best weights kept.
    """
    import torch
    import torch._dynamo  # the optimisers would import it within the first trial
    from torch.nn import functional as F

    from synthtrial.classify.catalog import SMALL_CNN, SmallCnnConfig
    from synthtrial.classify.training import build_model

    began, cpu_began = time.monotonic(), time.process_time()
    torch.set_num_threads(1)
    trial, arrays = spec["trials"][number], _load(spec["arrays"])
    images, labels = arrays["images_NCHW"], arrays["labels_N"]
    train, validation = arrays["train"], arrays["validation"]
    x = torch.from_numpy(images[train]).float() / 127.5 - 1
    y = torch.from_numpy(labels[train])
    x_validation = torch.from_numpy(images[validation]).float() / 127.5 - 1
    y_validation = torch.from_numpy(labels[validation])
    replicate = trial["replicate"]
    model = build_model(
        SMALL_CNN, SmallCnnConfig(), channels=1, size=8, outputs=10, seed=0, replicate=replicate
    )
    torch.manual_seed(number)
    if trial["optimizer"] == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            model.parameters(), trial["learning_rate"], fused=True
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), trial["learning_rate"], momentum=0.9, fused=True
        )
    best, best_weights = -1.0, {}
    train_losses, validation_losses = [], []
    for _epoch in range(spec["epochs"]):
        model.train()
        total = torch.zeros(())
        for rows in torch.split(torch.randperm(len(x)), trial["batch_size"]):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.detach() * len(rows)
        train_losses.append(total.item() / len(x))
        model.eval()
        with torch.no_grad():
            logits = model(x_validation)
            validation_losses.append(F.cross_entropy(logits, y_validation).item())
            accuracy = (logits.argmax(1) == y_validation).float().mean().item()
        if accuracy > best:
            best = accuracy
            best_weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_weights)
    return {
        "number": number,
        "began": began,
        "ended": time.monotonic(),
        "cpu": time.process_time() - cpu_began,
        "accuracy": best,
    }


def run_bare(spec: Spec) -> list[Record]:
    """(a) One training after another in this process."""
    return [train_bare(spec, number) for number in spec["numbers"]]


def run_fresh(spec: Spec) -> list[Record]:
    """(b) A fresh process for each trial, as many at a time as there are workers."""
    ready = time.monotonic()

    def one(number: int) -> Record:
        path = Path(spec["folder"], f"fresh-{number}.json")
        part = {**spec, "numbers": [number]}
        path.write_text(json.dumps(part))
        _run_side("bare", path, path)
        record: Record = json.loads(path.read_text())["records"][0]
        return record | {"ready": ready}

    with ThreadPoolExecutor(spec["workers"]) as pool:
        return list(pool.map(one, spec["numbers"]))


def run_bare_on_every_core(spec: Spec) -> list[Record]:
    """The trials of (a) shared out beforehand to as many processes as there are workers."""
    numbers = list(spec["numbers"])
    random.Random(0).shuffle(numbers)  # equal shares: the order of a grid has a pattern

    def one(worker: int) -> list[Record]:
        path = Path(spec["folder"], f"share-{worker}.json")
        path.write_text(json.dumps({**spec, "numbers": numbers[worker :: spec["workers"]]}))
        _run_side("bare", path, path)
        records: list[Record] = json.loads(path.read_text())["records"]
        return records

    with ThreadPoolExecutor(spec["workers"]) as pool:
        return list(chain.from_iterable(pool.map(one, range(spec["workers"]))))


def _run_side(side: str, spec: Path, result: Path) -> None:
    command = [sys.executable, __file__, side, str(spec), str(result)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run_tune(spec: Spec, *, reuse_actors: bool) -> list[Record]:
    """(c) and (d) Ray Tune on a private cluster of this machine; all else as it comes."""
    import grid_sides  # by its name: Ray's workers know nothing of this process's main module
    import ray
    from ray import tune

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.pop("RAY_ADDRESS", None)
    ray.init(
        address="local",
        num_cpus=spec["workers"],
        include_dashboard=False,
        _temp_dir=str(Path(spec["folder"], "ray")),
    )

    ready = time.monotonic()

    def trainable(config: dict[str, int]) -> None:
        tune.report(grid_sides.train_bare(spec, config["number"]))

    tuner = tune.Tuner(
        trainable,
        param_space={"number": tune.grid_search(spec["numbers"])},
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
        run_config=tune.RunConfig(storage_path=str(Path(spec["folder"], f"tune{reuse_actors:d}"))),
    )
    results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    keys = ("number", "began", "ended", "cpu", "accuracy")
    metrics = [results[place].metrics for place in range(len(results))]
    return [{key: found[key] for key in keys} | {"ready": ready} for found in metrics if found]


def run_synthtrial(spec: Spec, *overrides: str) -> list[Record]:
    """The grid stage of a study, with store, records, display and all."""
    from rich.console import Console

    from synthtrial.driver import run
    from synthtrial.progress import RunProgress
    from synthtrial.store.artifacts import open_store
    from synthtrial.store.records import read_records
    from synthtrial.study import load

    records: dict[str, Record] = {}

    class Listener(RunProgress):
        def ended(self, task: Any, outcome: Any, plan: Any) -> None:
            now = time.monotonic()
            assert outcome.state == "done", outcome
            records[task.id] = {"began": now - outcome.seconds, "ended": now}
            super().ended(task, outcome, plan)

    study = load(spec["study"], [*spec["overrides"], *overrides])
    store = open_store(Path(study.settings.store.path))
    # A terminal, so that the display is drawn; nobody looks at it.
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere, force_terminal=True, width=100)
        with Listener(console) as listener:
            run(study, store, listener, {"stage": "grid"})
    over = time.monotonic()
    table = read_records(store)
    for id_, score in zip(*(table[name].to_pylist() for name in COLUMNS), strict=True):
        records[id_] |= {"accuracy": score["accuracy"], "over": over}
    return list(records.values())


def run_synthtrial_on_ray(spec: Spec) -> list[Record]:
    """The same by the engine ray, on a private cluster of this machine.

    Its processes report about once a second what they have done, so when the first trial began
    follows from what the trials of the first report took, one after another. Where two processes
    report at once, that may count a second of the start-up as work. The end of the cluster is none.
    """
    records = run_synthtrial(spec, "engine.name=ray", "engine.ray.dashboard=false")
    first = min(record["ended"] for record in records)
    took = [r["ended"] - r["began"] for r in records if r["ended"] - first < HEARD_SECONDS]
    began = first - min(sum(took), REPORT_SECONDS + max(took))
    over = max(record["ended"] for record in records)
    return [record | {"ready": began, "over": over} for record in records]


SIDES: dict[str, Callable[[Spec], Sequence[Record]]] = {
    "bare": run_bare,
    "bare_on_every_core": run_bare_on_every_core,
    "fresh": run_fresh,
    "tune": lambda spec: run_tune(spec, reuse_actors=False),
    "tune_reused": lambda spec: run_tune(spec, reuse_actors=True),
    "synthtrial": run_synthtrial,
    "synthtrial_ray": run_synthtrial_on_ray,
}


def main() -> None:
    """Run one side and write down what each trial took."""
    side, spec, result = sys.argv[1:]
    records = SIDES[side](json.loads(Path(spec).read_text()))
    over = records[0].get("over", time.monotonic())
    Path(result).write_text(json.dumps({"records": records, "over": over}))


if __name__ == "__main__":
    main()
