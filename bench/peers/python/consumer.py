"""What both consumers have in common: arguments, and how windows are added up in the database."""

import argparse
from dataclasses import dataclass

WINDOW_SECONDS = 10
# Without event time nobody knows when a window is complete: each batch adds to it.
ADD_WINDOWS = """
    INSERT INTO per_method AS w (window_start, method, count, sum_metric, min_metric, max_metric) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (window_start, method) DO UPDATE SET
        count = w.count + excluded.count,
        sum_metric = w.sum_metric + excluded.sum_metric,
        min_metric = least(w.min_metric, excluded.min_metric),
        max_metric = greatest(w.max_metric, excluded.max_metric)"""


@dataclass(frozen=True)
class Arguments:
    kafka: str
    topic: str
    group: str
    database: str
    writes_rows: bool
    """Whether every event becomes a row, beside the windows."""
    processes: int

    @staticmethod
    def parse() -> "Arguments":
        parser = argparse.ArgumentParser()
        parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
        parser.add_argument("--topic", required=True)
        parser.add_argument("--group", required=True)
        parser.add_argument("--database", required=True, metavar="URL")
        parser.add_argument("--job", required=True, choices=["windows", "rows"])
        parser.add_argument("--processes", type=int, default=1)
        given = parser.parse_args()
        return Arguments(given.kafka, given.topic, given.group, given.database, given.job == "rows", given.processes)
