"""A connection to PostgreSQL through libpq, by ctypes: the benchmark needs nothing that a Debian 12 with psql lacks."""

import ctypes
import ctypes.util
import os


class Failed(Exception):
    """The server or the connection answered with an error."""


def _load():
    """libpq of the PostgreSQL that is measured, else the one of the system."""
    for name in (os.environ.get("BENCH_LIBPQ"), "libpq.so.5", ctypes.util.find_library("pq")):
        if name:
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
    raise Failed("libpq is missing: run tools/deps")


def _declare(library):
    text, pointer, number = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int
    for name, answer, arguments in (
        ("PQconnectdb", pointer, [text]),
        ("PQstatus", number, [pointer]),
        ("PQerrorMessage", text, [pointer]),
        ("PQfinish", None, [pointer]),
        ("PQexec", pointer, [pointer, text]),
        ("PQprepare", pointer, [pointer, text, text, number, pointer]),
        ("PQexecPrepared", pointer,
         [pointer, text, number, ctypes.POINTER(text), ctypes.POINTER(number), ctypes.POINTER(number), number]),
        ("PQresultStatus", number, [pointer]),
        ("PQresultErrorMessage", text, [pointer]),
        ("PQntuples", number, [pointer]),
        ("PQnfields", number, [pointer]),
        ("PQgetvalue", text, [pointer, number, number]),
        ("PQgetisnull", number, [pointer, number, number]),
        ("PQclear", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = answer, arguments
    return library


_pq = _declare(_load())
_OK = (0, 1, 2)  # empty query, command, rows


class Connection:
    """One session. Texts in, texts out; not to be shared between threads."""

    def __init__(self, conninfo=""):
        self._conn = _pq.PQconnectdb(conninfo.encode())
        if _pq.PQstatus(self._conn) != 0:
            raise Failed(_pq.PQerrorMessage(self._conn).decode().strip())

    def close(self):
        if self._conn:
            _pq.PQfinish(self._conn)
            self._conn = None

    def _rows(self, result):
        try:
            if _pq.PQresultStatus(result) not in _OK:
                raise Failed(_pq.PQresultErrorMessage(result).decode().strip())
            columns = range(_pq.PQnfields(result))
            return [tuple(None if _pq.PQgetisnull(result, row, column) else _pq.PQgetvalue(result, row, column).decode()
                          for column in columns)
                    for row in range(_pq.PQntuples(result))]
        finally:
            _pq.PQclear(result)

    def query(self, sql):
        """All rows of the last statement."""
        return self._rows(_pq.PQexec(self._conn, sql.encode()))

    def one(self, sql):
        """The first column of the first row."""
        return self.query(sql)[0][0]

    def prepare(self, name, sql):
        self._rows(_pq.PQprepare(self._conn, name.encode(), sql.encode(), 0, None))

    def run(self, name, *values):
        texts = (ctypes.c_char_p * max(len(values), 1))(*(str(v).encode() for v in values))
        return self._rows(_pq.PQexecPrepared(self._conn, name.encode(), len(values), texts, None, None, 0))
