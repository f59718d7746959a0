import struct

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from mils_jax.training.events import Events


def records(path):
  data = path.read_bytes()
  while data:
    (length,) = struct.unpack('<Q', data[:8])
    assert struct.unpack('<I', data[8:12])[0] == masked_crc32c(data[:8])
    assert struct.unpack('<I', data[12 + length:16 + length])[0] == masked_crc32c(data[12:12 + length])
    yield Event.FromString(data[12:12 + length])
    data = data[16 + length:]


def test_numbers_come_back_with_their_steps(tmp_path):
  Events(tmp_path, 5).write(8, {'loss': 0.5, 'accuracy': 0.25})
  (path,) = tmp_path.glob('events.out.tfevents.*')
  version, start, numbers = records(path)
  assert version.file_version == 'brain.Event:2'
  assert (start.step, start.session_log.status) == (5, 1)
  assert numbers.step == 8
  assert {value.tag: value.simple_value for value in numbers.summary.value} == {'loss': 0.5, 'accuracy': 0.25}
