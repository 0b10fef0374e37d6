"""HTTP to Kafka as FastAPI's and aiokafka's documentation show it: one process, an answer once Kafka has every event of the request.

    python fastapi_plain.py --kafka HOST:PORT --topic TOPIC --port PORT
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request

from events import Event


def application(kafka: str, topic: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.producer = AIOKafkaProducer(
            bootstrap_servers=kafka,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=5,
        )
        await app.state.producer.start()
        yield
        await app.state.producer.stop()

    app = FastAPI(lifespan=lifespan)

    @app.post("/events", status_code=202)
    async def take(event: Event, request: Request) -> dict[str, int]:
        producer = request.app.state.producer
        await producer.send_and_wait(topic, event.model_dump_json().encode(), key=event.key())
        return {"accepted": 1}

    @app.post("/batches", status_code=202)
    async def take_all(events: list[Event], request: Request) -> dict[str, int]:
        producer = request.app.state.producer
        sent = [await producer.send(topic, event.model_dump_json().encode(), key=event.key()) for event in events]
        await asyncio.gather(*sent)
        return {"accepted": len(events)}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(application(arguments.kafka, arguments.topic), host="127.0.0.1", port=arguments.port, access_log=False)
