"""The rows of documents that are answered again: found in the corpus and written by unit.

A span of the corpus becomes one file with the chosen rows: a row group for each unit that has any,
so that a worker reads exactly its rows. Runs in Ray tasks on CPUs; knows nothing of Ray, engines or
the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.changes import check_span
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.ids import ID_HASH, digest_ids, hash_ids
from pipelines.corpus.index import IndexConfig, index_file
from pipelines.corpus.measurement import MeasuredRows, measure_texts
from pipelines.corpus.row_changes import Hashes
from pipelines.corpus.rows import read_rows
from pipelines.corpus.units import LONG, SHORT, Unit
from pipelines.documents import ASKED, DOC_ID, TEXT
from pipelines.storage import Storage

_UNIT = "unit"
_NAMES = pa.list_(pa.string())


@dataclass(frozen=True, slots=True)
class ChosenDocuments:
    """Documents of one unit that are answered again.

    `ids` are the hashes of their ids. `asked` names the tasks to ask about some of them, by hash;
    the others are asked the usual tasks.
    """

    ids: Hashes
    asked: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class ChosenConfig:
    """The settings with which chosen rows are read, the same for all spans.

    Attributes:
        index: the settings of indexing: input, layout, reading plan, cost, OUTPUT and directory.
        chosen: the name of the file that lists the chosen documents.
        tasks: the tasks that are asked about a document unless that file names others.
        all_tasks: the number of all tasks of the job, to which `reading` and `cost` apply.
    """

    index: IndexConfig
    chosen: str
    tasks: tuple[str, ...]
    all_tasks: int


def write_chosen(storage: Storage, name: str, units: Mapping[int, ChosenDocuments]) -> int:
    """Write the file for `ChosenConfig.chosen`: the chosen documents by the number of their unit.
    Returns the number of documents."""
    ids = np.concatenate([np.empty(0, np.uint64), *(chosen.ids for chosen in units.values())])
    numbers = [np.full(len(chosen.ids), unit, np.int64) for unit, chosen in units.items()]
    asked = [chosen.asked.get(int(one)) for chosen in units.values() for one in chosen.ids]
    order = np.argsort(ids, kind="stable")
    table = pa.table(
        {
            ID_HASH: ids[order],
            _UNIT: np.concatenate([np.empty(0, np.int64), *numbers])[order],
            ASKED: pa.array(asked, _NAMES).take(pa.array(order)),
        }
    )
    with storage.new_file(name) as path:
        pq.write_table(table, path)
    return len(ids)


def write_chosen_rows(
    number: int, fragments: Sequence[Fragment], config: ChosenConfig
) -> tuple[Unit, ...]:
    """Read one span, write its chosen rows to a file in the index's directory, and return a piece
    of a unit for each row group: a Unit with the unit's number.

    The rows have the columns of the layout, and ASKED. Writes no file if there is none. Raises
    InputError naming the file, also if it has changed since it was listed, and StorageError.
    """
    index = config.index
    with index.storage.open(config.chosen) as handle:
        chosen = pq.read_table(handle)
    tables, units = [], [np.empty(0, np.int64)]
    for fragment in fragments:
        for rows in read_rows(index.input, index.layout, fragment):
            table, owners = _chosen_of(rows, chosen, config.tasks)
            tables.append(table)
            units.append(owners)
    check_span(index.input, fragments)
    owners = np.concatenate(units)
    if not len(owners):
        return ()
    rows = pa.concat_tables(tables)
    pieces = [
        (int(unit), rows.take(pa.array(np.flatnonzero(owners == unit))))
        for unit in np.unique(owners)
    ]
    return tuple(_write(index_file(index.directory, "text", number), pieces, config))


def _chosen_of(
    rows: pa.Table, chosen: pa.Table, usual: tuple[str, ...]
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Return the chosen ones of these rows with the tasks to ask, and the unit of each."""
    known = chosen[ID_HASH].to_numpy()
    ids = hash_ids(rows[DOC_ID])
    at = np.minimum(np.searchsorted(known, ids), max(0, len(known) - 1))
    found = np.flatnonzero(known[at] == ids) if len(known) else np.empty(0, np.int64)
    places = pa.array(at[found])
    asked = pc.coalesce(chosen[ASKED].take(places), pa.scalar(list(usual), _NAMES))
    return (
        rows.take(pa.array(found)).append_column(ASKED, asked),
        chosen[_UNIT].take(places).to_numpy(),
    )


def _write(
    name: str, pieces: Sequence[tuple[int, pa.Table]], config: ChosenConfig
) -> Iterator[Unit]:
    """Write a file with a row group for each piece of a unit, and yield what the piece costs."""
    schema = pieces[0][1].schema
    with config.index.storage.new_file(name) as path, pq.ParquetWriter(path, schema) as writer:
        for row_group, (unit, rows) in enumerate(pieces):
            writer.write_table(rows, row_group_size=max(1, rows.num_rows))
            yield replace(_measured(unit, rows, config), file=name, row_group=row_group)


def _measured(unit: int, rows: pa.Table, config: ChosenConfig) -> Unit:
    index = config.index
    tokens, problems = measure_texts(rows[TEXT], index.tokenizer, index.reading)
    measured = MeasuredRows.of(rows, tokens, problems, index.reading, index.cost)
    # estimates: the tokens and the time of a document are about those of its share of the tasks
    share = pc.list_value_length(rows[ASKED]).to_numpy() / max(1, config.all_tasks)
    return Unit(
        number=unit,
        pool=LONG if measured.long_pool.any() else SHORT,
        file="",
        row_group=0,
        rows=rows.num_rows,
        prompt_tokens=int((measured.prompt_tokens * share).sum()),
        longest=int(measured.longest.max()),
        seconds=float((measured.seconds * share).sum()),
        ids=digest_ids(hash_ids(rows[DOC_ID])),
    )


def gather_units(
    storage: Storage, directory: str, spans: Sequence[Sequence[Unit]]
) -> tuple[Unit, ...]:
    """Return one unit for each number among the pieces of all spans, in the order of numbers. The
    rows of a unit with several pieces are written once more, into one row group. Raises
    StorageError."""
    pieces: defaultdict[int, list[Unit]] = defaultdict(list)
    for span in spans:
        for piece in span:
            pieces[piece.number].append(piece)
    divided = {number: found for number, found in pieces.items() if len(found) > 1}
    joined = {}
    if divided:
        name = index_file(directory, "text", len(spans))
        joined = {unit.number: unit for unit in _join(storage, name, list(divided.values()))}
    return tuple(joined.get(number) or found[0] for number, found in sorted(pieces.items()))


def _join(storage: Storage, name: str, units: Sequence[Sequence[Unit]]) -> Iterator[Unit]:
    writer = None
    with storage.new_file(name) as path:
        for row_group, pieces in enumerate(units):
            rows = pa.concat_tables([_read_piece(storage, piece) for piece in pieces])
            writer = writer or pq.ParquetWriter(path, rows.schema)
            writer.write_table(rows, row_group_size=rows.num_rows)
            yield _sum(pieces, name, row_group, digest_ids(hash_ids(rows[DOC_ID])))
        if writer is not None:
            writer.close()


def _read_piece(storage: Storage, piece: Unit) -> pa.Table:
    with storage.open(piece.file) as handle:
        return pq.ParquetFile(handle).read_row_group(piece.row_group)


def _sum(pieces: Sequence[Unit], name: str, row_group: int, ids: str) -> Unit:
    return Unit(
        number=pieces[0].number,
        pool=LONG if any(piece.pool == LONG for piece in pieces) else SHORT,
        file=name,
        row_group=row_group,
        rows=sum(piece.rows for piece in pieces),
        prompt_tokens=sum(piece.prompt_tokens for piece in pieces),
        longest=max(piece.longest for piece in pieces),
        seconds=sum(piece.seconds for piece in pieces),
        ids=ids,
    )
