"""A hub on this machine that speaks the calls which huggingface_hub makes to push a model and to fetch it."""

import base64
import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = 'hf_of_anna'


class Hub:
  """What the hub holds: the files of each model, by name."""

  def __init__(self):
    self.models = {}
    self.asked = []
    self.address = ''

  def sha(self, name):
    """The revision of a model: a hash of its files."""
    return hashlib.sha1(repr(sorted(self.models[name].items())).encode()).hexdigest()


def blob_id(data):
  return hashlib.sha1(data).hexdigest()


@contextlib.contextmanager
def serve():
  """A hub that is empty, on a free port."""
  hub = Hub()

  class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
      parts = unquote(self.path).strip('/').split('?')[0].split('/')
      if parts[:2] == ['api', 'models'] and len(parts) > 3:
        return self.of_model('/'.join(parts[2:4]), parts[4:])
      if len(parts) > 4 and parts[2] == 'resolve':
        return self.file('/'.join(parts[:2]), parts[4])
      self.answer(404, {})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
      body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
      if self.headers.get('Authorization') != f'Bearer {TOKEN}':
        return self.answer(401, {'error': 'no right to write'})
      parts = self.path.strip('/').split('?')[0].split('/')
      if parts[:3] == ['api', 'repos', 'create']:
        asked = json.loads(body)
        name = f'{asked.get("organization", "anna")}/{asked["name"]}'
        hub.models.setdefault(name, {})
        return self.answer(200, {'url': f'{hub.address}/{name}', 'name': name})
      if parts[:2] == ['api', 'validate-yaml']:
        return self.answer(200, {'errors': [], 'warnings': []})
      name = '/'.join(parts[2:4])
      if name not in hub.models:
        return self.answer(404, {}, {'X-Error-Code': 'RepoNotFound'})
      if parts[4] == 'preupload':
        files = [{'path': one['path'], 'uploadMode': 'regular', 'shouldIgnore': False}
                 for one in json.loads(body)['files']]
        return self.answer(200, {'files': files})
      for line in map(json.loads, body.splitlines()):  # a commit
        if line['key'] == 'file':
          hub.models[name][line['value']['path']] = base64.b64decode(line['value']['content'])
      sha = hub.sha(name)
      self.answer(200, {'success': True, 'commitOid': sha, 'commitUrl': f'{hub.address}/{name}/commit/{sha}'})

    def of_model(self, name, rest):
      if name not in hub.models:
        return self.answer(404, {}, {'X-Error-Code': 'RepoNotFound'})
      if rest[:1] == ['revision'] and rest[1:] not in (['main'], [hub.sha(name)]):
        return self.answer(404, {}, {'X-Error-Code': 'RevisionNotFound'})
      if rest[:1] == ['tree']:
        return self.answer(200, [{'type': 'file', 'path': path, 'size': len(data), 'oid': blob_id(data)}
                                 for path, data in hub.models[name].items()])
      files = [{'rfilename': path} for path in hub.models[name]]
      self.answer(200, {'id': name, 'modelId': name, 'sha': hub.sha(name), 'siblings': files, 'tags': [],
                        'private': False, 'downloads': 0, 'likes': 0})

    def file(self, name, path):
      data = hub.models[name].get(path)
      if data is None:
        return self.answer(404, {}, {'X-Error-Code': 'EntryNotFound'})
      self.answer(200, data, {'ETag': f'"{blob_id(data)}"', 'X-Repo-Commit': hub.sha(name)})

    def answer(self, status, body, headers=()):
      hub.asked.append(f'{self.command} {self.path}')
      data = body if isinstance(body, bytes) else json.dumps(body).encode()
      self.send_response(status)
      for key, value in {'Content-Length': str(len(data)), 'Content-Type': 'application/json', **dict(headers)}.items():
        self.send_header(key, value)
      self.end_headers()
      if self.command != 'HEAD':
        self.wfile.write(data)

    def log_message(self, *_):
      pass

  with ThreadingHTTPServer(('localhost', 0), Handler) as server:
    hub.address = f'http://localhost:{server.server_address[1]}'
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
