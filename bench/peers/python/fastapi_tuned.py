"""HTTP to Kafka as fast as FastAPI was made to do it here: a process for each core (uvloop, httptools), bodies parsed and checked by
pydantic in one go, librdkafka's producer. An answer once Kafka has every event of the request.

    python fastapi_tuned.py --kafka HOST:PORT --topic TOPIC --port PORT --processes N
"""

import argparse
import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from confluent_kafka import KafkaError, Message, Producer
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import TypeAdapter, ValidationError

from events import Event

EVENTS = TypeAdapter(list[Event])
ACCEPTED = Response(status_code=202)


class Acknowledgements:
    """Those of one request. They come in the thread that polls."""

    def __init__(self, expected: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.all = self.loop.create_future()
        self.left = expected
        self.error: KafkaError | None = None

    def take(self, error: KafkaError | None, _: Message) -> None:
        self.error = self.error or error
        self.left -= 1
        if self.left == 0:
            self.loop.call_soon_threadsafe(self.finish)

    def finish(self) -> None:
        if self.all.done():
            return
        if self.error is None:
            self.all.set_result(None)
        else:
            self.all.set_exception(HTTPException(503, str(self.error)))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.topic = os.environ["TOPIC"]
    app.state.producer = Producer(
        {
            "bootstrap.servers": os.environ["KAFKA"],
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "partitioner": "murmur2_random",
        }
    )
    stopped = threading.Event()

    def poll() -> None:
        while not stopped.is_set():
            app.state.producer.poll(0.1)

    poller = threading.Thread(target=poll)
    poller.start()
    yield
    stopped.set()
    poller.join()
    app.state.producer.flush()


async def produce(request: Request, events: list[Event]) -> Response:
    producer, topic = request.app.state.producer, request.app.state.topic
    acknowledgements = Acknowledgements(len(events))
    for event in events:
        producer.produce(topic, event.__pydantic_serializer__.to_json(event), event.key(), on_delivery=acknowledgements.take)
    await acknowledgements.all
    return ACCEPTED


app = FastAPI(lifespan=lifespan)


@app.post("/events", status_code=202)
async def take(request: Request) -> Response:
    try:
        event = Event.model_validate_json(await request.body())
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False)) from error
    return await produce(request, [event])


@app.post("/batches", status_code=202)
async def take_all(request: Request) -> Response:
    try:
        events = EVENTS.validate_json(await request.body())
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False)) from error
    return await produce(request, events)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--processes", type=int, required=True)
    arguments = parser.parse_args()
    # The processes import this module, and see no arguments.
    os.environ["KAFKA"], os.environ["TOPIC"] = arguments.kafka, arguments.topic
    uvicorn.run(
        "fastapi_tuned:app",
        host="127.0.0.1",
        port=arguments.port,
        workers=arguments.processes,
        loop="uvloop",
        http="httptools",
        access_log=False,
    )
