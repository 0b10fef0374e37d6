"""Kafka to PostgreSQL as people write it first: one process, json, statements for a few hundred events at a time.

Offsets are committed after the rows: at least once.

    python consumer_plain.py --kafka HOST:PORT --topic TOPIC --group GROUP --database URL --job windows|rows
"""

import asyncio
import json
from datetime import UTC, datetime

import asyncpg
from aiokafka import AIOKafkaConsumer

from consumer import ADD_WINDOWS, WINDOW_SECONDS, Arguments

INSERT = "INSERT INTO events (event_id, source, ts, user_id, metric, method, code) VALUES ($1, $2, $3, $4, $5, $6, $7)"
RECORDS = 500


async def run(arguments: Arguments) -> None:
    database = await asyncpg.connect(arguments.database)
    consumer = AIOKafkaConsumer(
        arguments.topic,
        bootstrap_servers=arguments.kafka,
        group_id=arguments.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    while True:
        rows, windows = [], {}
        for messages in (await consumer.getmany(timeout_ms=100, max_records=RECORDS)).values():
            for message in messages:
                event = json.loads(message.value)
                attributes = event["attributes"]
                ts, metric, method = datetime.fromisoformat(event["timestamp"]), attributes["metric"], attributes["method"]
                seconds = int(ts.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS
                window = windows.setdefault((seconds, method), [0, 0.0, metric, metric])
                window[0] += 1
                window[1] += metric
                window[2] = min(window[2], metric)
                window[3] = max(window[3], metric)
                rows.append((event["event_id"], event["source"], ts, attributes["user_id"], metric, method, attributes["code"]))
        if not rows:
            continue
        async with database.transaction():
            if arguments.writes_rows:
                await database.executemany(INSERT, rows)
            added = [(datetime.fromtimestamp(seconds, UTC), method, *window) for (seconds, method), window in sorted(windows.items())]
            await database.executemany(ADD_WINDOWS, added)
        await consumer.commit()


if __name__ == "__main__":
    asyncio.run(run(Arguments.parse()))
