"""The events, as FastAPI has them declared: what the EventSource of the measurements declares too."""

from datetime import datetime
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field


class Attributes(BaseModel):
    model_config = ConfigDict(extra="allow")

    user_id: str | None = None
    metric: float | None = None
    method: str | None = None
    code: int | None = None


class Event(BaseModel):
    # What is not declared is kept: Tidewheel stores events as they were sent.
    model_config = ConfigDict(extra="allow")

    event_id: UUID = Field(default_factory=uuid4)
    source: str
    timestamp: datetime
    attributes: Attributes = Field(default_factory=Attributes)

    def key(self) -> bytes:
        """What decides the partition."""
        return str(self.event_id).encode()
