"""Drafts: indexes that `phifleet plan` made and that no plan has recorded yet.

A draft is an index as a run makes it, in a directory of its own below `_run/index`, with the plan
that would be recorded and a key: a digest of everything that the index and its units depend on. A
run that is about to index files uses a draft with the same key instead. With another key, because
the job file or the input has changed since, the run indexes as if there were no draft; if only the
reading of documents or the units have changed, it takes the lengths of texts from the draft. So a
draft binds nobody, and OUTPUT holds no job until a run records one.

A draft is used by a run, or removed by whoever has made a newer index for the same plan, and never
both: the one that first creates the file `taken` in it decides. Knows the ledger's records; knows
nothing of Ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True)
class DraftKey:
    """What an index depends on, as digests.

    Attributes:
        whole: of everything that the index and its units depend on.
        lengths: of what the lengths of its texts depend on: the files, the columns, the tokenizer.
        cpus: the CPUs by which its spans were cut.
    """

    whole: str
    lengths: str
    cpus: int

    def to_json(self) -> bytes:
        """Return the key as JSON; `from_json` reads it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> DraftKey:
        """Return the key that `to_json` wrote."""
        return cls(**json.loads(data))


@dataclass(frozen=True, slots=True)
class Lengths:
    """The directory of an index whose lengths of texts are right, and the CPUs of its spans."""

    directory: str
    cpus: int


def draft_key(
    plans: Sequence[Plan],
    changes: InputChanges,
    spec: InputSpec,
    tokenizer: ChatTokenizer,
    cost: CostModel,
    unit_seconds: float,
    cpus: int,
) -> DraftKey:
    """Return the key of an index.

    Args:
        plans: the plans recorded before.
        changes: the files to index.
        spec: the job's section `input`.
        tokenizer: counts the tokens.
        cost: estimates the time of a document, from the model, the device and the reading plan.
        unit_seconds: the time for which units are cut.
        cpus: the CPUs of the cluster, by which spans are cut.
    """
    model = cost.model
    of_lengths = (
        version("phifleet"),
        [plan.digest for plan in plans],
        [file.to_record() for file in changes.new],
        list(changes.gone),
        [changes.table, changes.version],
        spec.model_dump(mode="json"),
        [tokenizer.tokenizer_json, tokenizer.prefix_ids, tokenizer.suffix_ids],
    )
    of_units = (
        [model.layers, model.hidden_size, model.parameters, model.kv_bytes_per_token],
        repr((cost.device, cost.reading)),
        unit_seconds,
    )
    lengths = _digest(of_lengths)
    return DraftKey(_digest((lengths, of_units)), lengths, cpus)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@dataclass(frozen=True)
class Drafts:
    """The drafts in OUTPUT that may become the plan number `number`. Methods raise StorageError."""

    storage: Storage
    number: int

    def keep(self, directory: str, key: DraftKey, plan: Plan) -> None:
        """Make the index in `directory` a draft. Call it when the index is complete."""
        self.storage.write(f"{directory}/{_PLAN}", plan.to_bytes())
        self.storage.write(f"{directory}/{_KEY}", key.to_json())

    def find(self, key: DraftKey) -> Plan | None:
        """Return the plan of a draft with this key, or None. The draft may be removed meanwhile."""
        for directory, found in self._drafts():
            if found.whole == key.whole and self._taken(directory) != _REMOVED:
                return self._plan(directory)
        return None

    def adopt(self, key: DraftKey) -> Plan | None:
        """Return the plan of a draft with this key, which nobody removes from now on; None if there
        is none."""
        for directory, found in self._drafts():
            if found.whole == key.whole and self._take(directory, _ADOPTED):
                return self._plan(directory)
        return None

    def lengths(self, key: DraftKey) -> Lengths | None:
        """Return a draft of the same files, columns and tokenizer, in whose lengths of texts an
        index with another key may trust; None if there is none. Files of it may be removed
        meanwhile, and lengths are then counted."""
        for directory, found in self._drafts():
            if found.lengths == key.lengths and self._taken(directory) != _REMOVED:
                return Lengths(directory, found.cpus)
        return None

    def remove_others(self, key: DraftKey) -> None:
        """Delete the drafts that have another key and that no run uses."""
        for directory, found in self._drafts():
            if found.whole != key.whole and self._take(directory, _REMOVED):
                self.storage.remove(directory)

    def _drafts(self) -> Iterator[tuple[str, DraftKey]]:
        """Yield the directory and the key of each draft."""
        for name in self.storage.entries(INDEX):
            match, directory = INDEX_NAME.fullmatch(name), f"{INDEX}/{name}"
            if match is None or int(match[1]) != self.number:
                continue
            data = self.storage.read_if_exists(f"{directory}/{_KEY}")
            if data is not None:
                with readable(self.storage.path(f"{directory}/{_KEY}")):
                    key = DraftKey.from_json(data)
                yield directory, key

    def _taken(self, directory: str) -> bytes | None:
        return self.storage.read_if_exists(f"{directory}/{_TAKEN}")

    def _take(self, directory: str, by: bytes) -> bool:
        name = f"{directory}/{_TAKEN}"
        return self.storage.create(name, by) or self._taken(directory) == by

    def _plan(self, directory: str) -> Plan | None:
        name = f"{directory}/{_PLAN}"
        data = self.storage.read_if_exists(name)
        if data is None:
            return None
        with readable(self.storage.path(name)):
            return Plan.from_bytes(data)
