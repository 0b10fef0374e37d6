"""Kafka to PostgreSQL as fast as Python was made to do it here: a process for each core, librdkafka, orjson, batches, COPY.

Events are not placed in time but by the text of their timestamps: all are in UTC and written alike. Offsets are committed after the
rows: at least once.

    python consumer_tuned.py --kafka HOST:PORT --topic TOPIC --group GROUP --database URL --job windows|rows --processes N
"""

import multiprocessing
from collections import defaultdict
from datetime import datetime

import asyncpg
import orjson
import uvloop
from confluent_kafka import Consumer, KafkaException

from consumer import ADD_WINDOWS, Arguments

MESSAGES = 10_000
WAIT_SECONDS = 0.05
COLUMNS = ["event_id", "source", "ts", "user_id", "metric", "method", "code"]


async def consume(arguments: Arguments) -> None:
    database = await asyncpg.connect(arguments.database)
    consumer = Consumer(
        {
            "bootstrap.servers": arguments.kafka,
            "group.id": arguments.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6_000,
            "queued.min.messages": 200_000,
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.subscribe([arguments.topic])
    while True:
        messages = consumer.consume(MESSAGES, WAIT_SECONDS)
        if not messages:
            continue
        windows, rows = defaultdict(list), []
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            event = orjson.loads(message.value())
            attributes, ts = event["attributes"], event["timestamp"]
            metric, method = attributes["metric"], attributes["method"]
            # As far as the tens of seconds.
            windows[ts[:18], method].append(metric)
            if arguments.writes_rows:
                at = datetime.fromisoformat(ts)
                rows.append((event["event_id"], event["source"], at, attributes["user_id"], metric, method, attributes["code"]))
        # In order, or two processes would wait for each other.
        added = [
            (datetime.fromisoformat(f"{start}0Z"), method, len(metrics), float(sum(metrics)), min(metrics), max(metrics))
            for (start, method), metrics in sorted(windows.items())
        ]
        async with database.transaction():
            if rows:
                await database.copy_records_to_table("events", records=rows, columns=COLUMNS)
            await database.executemany(ADD_WINDOWS, added)
        consumer.commit(asynchronous=True)


def run(arguments: Arguments) -> None:
    uvloop.run(consume(arguments))


if __name__ == "__main__":
    given = Arguments.parse()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=run, args=[given]) for _ in range(given.processes)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
