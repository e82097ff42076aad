"""Drafts: indexes that `phifleet plan` made and that no plan has recorded yet.

A draft is an index as a run makes it, in a directory of its own below `_run/index`, with the plan
that would be recorded and a key: a digest of everything that the index and its units depend on. A
run that is about to index files uses a draft with the same key instead. With another key, because
the job file or the input has changed since, the run indexes as if there were no draft. So a draft
binds nobody, and OUTPUT holds no job until a run records one.

A draft is used by a run, or removed by whoever has made a newer index for the same plan, and never
both: the one that first creates the file `taken` in it decides. Knows the ledger's records; knows
nothing of Ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from pipelines.job.spec import InputSpec
from pipelines.ledger.names import INDEX, INDEX_NAME
from pipelines.ledger.records import Plan, readable
from pipelines.models.cost import CostModel
from pipelines.run.following import InputChanges
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer

_KEY, _PLAN, _TAKEN = "draft-key", "draft-plan", "taken"
_ADOPTED, _REMOVED = b"adopted", b"removed"


def draft_key(
    plans: Sequence[Plan],
    changes: InputChanges,
    spec: InputSpec,
    tokenizer: ChatTokenizer,
    cost: CostModel,
    unit_seconds: float,
) -> str:
    """Return a digest of what an index and its units depend on.

    Args:
        plans: the plans recorded before.
        changes: the files to index.
        spec: the job's section `input`.
        tokenizer: counts the tokens.
        cost: estimates the time of a document, from the model, the device and the reading plan.
        unit_seconds: the time for which units are cut.
    """
    model = cost.model
    parts = (
        version("phifleet"),
        [plan.digest for plan in plans],
        [file.to_record() for file in changes.new],
        list(changes.gone),
        [changes.table, changes.version],
        spec.model_dump(mode="json"),
        [tokenizer.tokenizer_json, tokenizer.prefix_ids, tokenizer.suffix_ids],
        [model.layers, model.hidden_size, model.parameters, model.kv_bytes_per_token],
        repr((cost.device, cost.reading)),
        unit_seconds,
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Drafts:
    """The drafts in OUTPUT that may become the plan number `number`. Methods raise StorageError."""

    storage: Storage
    number: int

    def keep(self, directory: str, key: str, plan: Plan) -> None:
        """Make the index in `directory` a draft. Call it when the index is complete."""
        self.storage.write(f"{directory}/{_PLAN}", plan.to_bytes())
        self.storage.write(f"{directory}/{_KEY}", key.encode())

    def find(self, key: str) -> Plan | None:
        """Return the plan of a draft with this key, or None. The draft may be removed meanwhile."""
        for directory in self._directories(key):
            if self.storage.read_if_exists(f"{directory}/{_TAKEN}") != _REMOVED:
                return self._plan(directory)
        return None

    def adopt(self, key: str) -> Plan | None:
        """Return the plan of a draft with this key, which nobody removes from now on; None if there
        is none."""
        for directory in self._directories(key):
            if self._take(directory, _ADOPTED):
                return self._plan(directory)
        return None

    def remove_others(self, key: str) -> None:
        """Delete the drafts that have another key and that no run uses."""
        for directory in self._directories():
            if self._key(directory) != key and self._take(directory, _REMOVED):
                self.storage.remove(directory)

    def _directories(self, key: str | None = None) -> Iterator[str]:
        """Yield the directories of drafts; with `key`, only of those that have it."""
        for name in self.storage.entries(INDEX):
            match, directory = INDEX_NAME.fullmatch(name), f"{INDEX}/{name}"
            if match is None or int(match[1]) != self.number:
                continue
            found = self._key(directory)
            if found is not None and key in (None, found):
                yield directory

    def _key(self, directory: str) -> str | None:
        data = self.storage.read_if_exists(f"{directory}/{_KEY}")
        return None if data is None else data.decode()

    def _take(self, directory: str, by: bytes) -> bool:
        name = f"{directory}/{_TAKEN}"
        return self.storage.create(name, by) or self.storage.read_if_exists(name) == by

    def _plan(self, directory: str) -> Plan | None:
        name = f"{directory}/{_PLAN}"
        data = self.storage.read_if_exists(name)
        if data is None:
            return None
        with readable(self.storage.path(name)):
            return Plan.from_bytes(data)
