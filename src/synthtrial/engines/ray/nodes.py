"""The nodes of a Ray cluster as the engine sees them now."""

from __future__ import annotations

import time
from collections.abc import Mapping

from synthtrial.engine_config import EngineConfig
from synthtrial.engines.ray.seats import Request, missing, request, seats, whole
from synthtrial.errors import EngineError

_LOOK_SECONDS = 5.0  # between two looks


class Nodes:
    """What the nodes offer, and what a task is given of it.

    Args:
        settings: of the engine.
        address: of the cluster, for messages.
    """

    def __init__(self, settings: EngineConfig, address: str) -> None:
        self._settings, self._address = settings, address
        self._looked_at = float("-inf")
        self._homeless_since: float | None = None
        self._offers: list[Mapping[str, float]] = []
        self.request = Request(settings.ray.cpus_per_task, 0.0)
        self.seats = 0

    @property
    def whole(self) -> Request:
        """What a task is given that is to be alone."""
        return whole(self.request, self._offers)

    @property
    def of_gan(self) -> Request:
        """What each process of a GAN is given: a whole GPU, where one is used."""
        return self.whole if self.request.gpus else self.request

    def seats_in(self, wanted: Request) -> int:
        """Return how many ordinary tasks fit into what another is given."""
        return max(1, seats(self.request, [wanted.resources]))

    def wait(self) -> None:
        """Wait until some node could take a task.

        Raises:
            EngineError: none can, after ``wait_seconds``.
        """
        while not self.seats:
            self.look(now=True)
            if not self.seats:
                time.sleep(min(1.0, self._settings.ray.wait_seconds))

    def look(self, *, group: int = 1, now: bool = False) -> None:
        """Take note of the nodes, if that is due.

        Args:
            group: processes of a GAN that wait to run together.
            now: whether it is due in any case.

        Raises:
            EngineError: they could take no task, or not the group, and that for ``wait_seconds``.
        """
        if not now and time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        import ray

        self._looked_at = time.monotonic()
        known = ray.nodes()  # type: ignore[no-untyped-call]
        self._offers = [node["Resources"] for node in known if node["Alive"]]
        self.request = request(self._settings, self._offers)
        self.seats = seats(self.request, self._offers)
        room = seats(self.of_gan, self._offers)
        if self.seats and room >= group:
            self._homeless_since = None
        elif self._homeless_since is None:
            self._homeless_since = self._looked_at
        elif self._looked_at - self._homeless_since >= self._settings.ray.wait_seconds:
            if self.seats:
                raise EngineError(
                    f"the Ray cluster at {self._address} has no room for the {group} processes of "
                    f"a GAN: each is to be given {self.of_gan}, and its nodes hold {room} of them. "
                    f"Add nodes, or set engine.ray.gan_processes={max(1, room)}"
                )
            raise EngineError(
                f"no node of the Ray cluster at {self._address} can take a task: each is to be "
                f"given {self.request}, and none has enough {missing(self.request, self._offers)}. "
                "Add such a node, or ask for less with engine.ray.cpus_per_task, "
                "engine.trials_per_gpu or engine.device=cpu; engine.ray.wait_seconds is how long "
                "an autoscaler is given"
            )
