"""TensorBoard events, written without TensorFlow, without threads and without buffering."""

import struct
import time
from collections.abc import Mapping
from pathlib import Path


class Events:
  """One event file, created with its first values and flushed after every write.

  tensorboardX loads PyTorch where it is installed, which takes seconds; so it is imported when there is something to
  write, not at a run's start.

  Args:
    folder: folder of the file; TensorBoard reads all event files there in order of their names.
    step: events of this step and later in older files are purged.
  """

  def __init__(self, folder: Path, step: int):
    self._folder, self._step = folder, step
    self._path: Path | None = None

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends one number for each name."""
    # Protobuf creates the classes while their modules are imported.
    from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

    if self._path is None:
      self._path = self._folder / f'events.out.tfevents.{time.time_ns()}'
      self._append(Event(wall_time=time.time(), file_version='brain.Event:2').SerializeToString())
      taken_back = Event(wall_time=time.time(), step=self._step, session_log=SessionLog(status=SessionLog.START))
      self._append(taken_back.SerializeToString())
    numbers = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=numbers)).SerializeToString())

  def _append(self, data: bytes) -> None:
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack('<Q', len(data))
    record = (length + struct.pack('<I', masked_crc32c(length)) + data + struct.pack('<I', masked_crc32c(data)))
    assert self._path is not None  # `write` sets it first
    with self._path.open('ab', buffering=0) as file:
      file.write(record)
