"""What the station has answered, in SQLite: an answer is in the database before it is given."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PAD_utils.errors import UserError
from PAD_utils.files import explaining
from PAD_utils.run.summary import UNDECIDED
from PAD_utils.station.parts import Judged

_VERSION = 1  # of the tables
_BUSY_S = 30.0
_PAGE = 1000  # rows read at once for a list of all
_TABLES = """
CREATE TABLE parts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at REAL NOT NULL,
    class TEXT,
    model TEXT NOT NULL,
    decision TEXT,
    score REAL,
    threshold REAL,
    origin TEXT,
    label TEXT CHECK (label IN ('good', 'defective')),
    labeled_at REAL,
    has_pictures INTEGER NOT NULL DEFAULT 1,
    answer TEXT NOT NULL
);
CREATE INDEX parts_by_class ON parts (class, number);
CREATE INDEX parts_by_time ON parts (class, at);
CREATE INDEX parts_by_model ON parts (class, model, number);
CREATE INDEX parts_by_decision ON parts (decision, number);
CREATE INDEX parts_by_label ON parts (number) WHERE label IS NOT NULL;
CREATE INDEX parts_by_origin ON parts (origin) WHERE origin IS NOT NULL;
CREATE INDEX parts_by_pictures ON parts (has_pictures, number);
"""
# The plus keeps SQLite from looking decisions up: there are far fewer labels.
MISTAKES = (
    "(label IS NOT NULL AND ((+decision = 'DEFECT' AND label = 'good') OR (+decision = 'OK' AND label = 'defective')))"
)


@dataclass(frozen=True)
class Filter:
    """Which parts a list holds; None: whatever it is. `before`: with a smaller number."""

    classname: str | None = None
    decision: str | None = None
    mistakes: bool = False
    before: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its values."""
        decision = None if self.decision == UNDECIDED else self.decision
        wanted = (("class = ?", self.classname), ("decision = ?", decision), ("number < ?", self.before))
        terms = [(term, value) for term, value in wanted if value is not None]
        conditions = [term for term, _ in terms] + ([MISTAKES] if self.mistakes else [])
        conditions += ["decision IS NULL"] if self.decision == UNDECIDED else []
        return " AND ".join(conditions) or "1", [value for _, value in terms]


class Store:
    """The table of parts. May be used by several threads; readers do not wait for the writer.

    `folder` holds station.db, in write-ahead mode, each commit flushed to the disk before it returns. Raises UserError,
    naming the file, when that is of another version or damaged, or may not be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "station.db"
        self._locks = {name: threading.Lock() for name in ("write", "read")}
        with explaining(self.path):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._connections = {name: self._connect() for name in ("write", "read")}
            version = self._connections["write"].execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._connections["write"].executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        except sqlite3.Error as error:
            raise UserError(f"{self.path} cannot be used ({error}); choose another place with --store") from error
        if version not in (0, _VERSION):
            raise UserError(f"{self.path} is of version {version}, expected {_VERSION}; choose another --store")

    def add(self, judged: Sequence[Judged]) -> list[dict[str, Any]]:
        """Keeps parts, all or none, and returns what may now be answered. Raises sqlite3.Error when it cannot."""
        answers = [one.as_json() for one in judged]
        rows = [
            (
                *(one.part.id, one.part.received, one.classname, one.model, one.decision, one.score, one.threshold),
                *(one.part.origin, json.dumps(answer, allow_nan=False)),
            )
            for one, answer in zip(judged, answers, strict=True)
        ]
        columns = "id, at, class, model, decision, score, threshold, origin, answer"
        with self._writing() as connection:
            connection.executemany(f"INSERT INTO parts ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return answers

    def label(self, id: str, label: str | None) -> dict[str, Any] | None:
        """Keeps what a person says of a part, or takes it back; returns the part, None where there is none."""
        with self._writing() as connection:
            connection.execute("UPDATE parts SET label = ?, labeled_at = ? WHERE id = ?", (label, time.time(), id))
        return self.get(id)

    def get(self, id: str) -> dict[str, Any] | None:
        """One part as it was answered, with its label and number; None where there is none."""
        rows = self.select("SELECT number, label, has_pictures, answer FROM parts WHERE id = ?", [id])
        return _answer(rows[0]) if rows else None

    def newest(self, wanted: Filter, limit: int) -> list[dict[str, Any]]:
        """Parts, the newest first."""
        where, values = wanted.where()
        query = f"SELECT number, label, has_pictures, answer FROM parts WHERE {where} ORDER BY number DESC LIMIT ?"
        return [_answer(row) for row in self.select(query, [*values, limit])]

    def every(self) -> Iterator[dict[str, Any]]:
        """Every part, the oldest first; what is added meanwhile may be missing."""
        last = 0
        query = f"SELECT number, label, has_pictures, answer FROM parts WHERE number > ? ORDER BY number LIMIT {_PAGE}"
        while rows := self.select(query, [last]):
            last = rows[-1][0]
            yield from map(_answer, rows)

    def knows_origin(self, origin: str) -> bool:
        """Whether a file of the watched folder has been judged."""
        return bool(self.select("SELECT 1 FROM parts WHERE origin = ?", [origin]))

    def select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query that only reads."""
        with self._locks["read"]:
            return self._connections["read"].execute(query, values).fetchall()

    def forget_pictures(self, keep: int) -> list[str]:
        """Marks all but the newest `keep` parts, and those with a label, as having no pictures; returns their ids."""
        query = "SELECT id FROM parts WHERE has_pictures = 1 AND label IS NULL ORDER BY number DESC LIMIT -1 OFFSET ?"
        ids = [row[0] for row in self.select(query, [keep])]
        with self._writing() as connection:
            connection.executemany("UPDATE parts SET has_pictures = 0 WHERE id = ?", [(id,) for id in ids])
        return ids

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, _BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # in write-ahead mode NORMAL may lose commits with the power
        return connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed when the block ends well, undone otherwise."""
        with self._locks["write"]:
            connection = self._connections["write"]
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


def _answer(row: tuple[int, str | None, int, str]) -> dict[str, Any]:
    number, label, has_pictures, answer = row
    return {**json.loads(answer), "label": label, "number": number, "has_pictures": bool(has_pictures)}
