"""A real browser, driven through its own driver's HTTP interface (W3C WebDriver), with nothing else to install."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import urllib.request

import pytest

FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--hide-scrollbars',
         '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage']


class Browser:
  """One window.

  Args:
    address: of the session at the driver.
  """

  def __init__(self, address: str):
    self._address = address

  def open(self, page):
    """Opens a file and waits until it is loaded."""
    call(f'{self._address}/url', {'url': page.as_uri()})

  def run(self, script):
    """What a function body in JavaScript returns."""
    return call(f'{self._address}/execute/sync', {'script': script, 'args': []})

  def messages(self):
    """What stands in the console: warnings and errors."""
    return [entry['message'] for entry in call(f'{self._address}/se/log', {'type': 'browser'})]

  def set(self, command, **parameters):
    """A command of the Chrome DevTools Protocol, such as Emulation.setEmulatedMedia."""
    return call(f'{self._address}/goog/cdp/execute', {'cmd': command, 'params': parameters})

  def screenshot(self, path):
    """The whole page as an image."""
    image = self.set('Page.captureScreenshot', captureBeyondViewport=True)['data']
    path.write_bytes(base64.b64decode(image))


@contextlib.contextmanager
def browser(width, height=900):
  """A browser whose page is that many pixels wide; skips where none is installed."""
  chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
  if not chromium or not driver:
    pytest.skip('no chromium and chromedriver here (Debian: apt-get install chromium chromium-driver)')
  with tempfile.TemporaryDirectory() as profile:
    process = subprocess.Popen([driver, '--port=0'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
      port = next(found[1] for line in process.stdout if (found := re.search(r'successfully on port (\d+)', line)))
      options = {'binary': chromium, 'args': [*FLAGS, f'--user-data-dir={profile}'],
                 'mobileEmulation': {'deviceMetrics': {'width': width, 'height': height, 'pixelRatio': 1}}}
      root = f'http://127.0.0.1:{port}/session'
      session = call(root, {'capabilities': {'alwaysMatch': {
          'goog:chromeOptions': options, 'goog:loggingPrefs': {'browser': 'ALL'}}}})
      address = f'{root}/{session["sessionId"]}'
      try:
        yield Browser(address)
      finally:
        call(address, method='DELETE')
    finally:
      process.terminate()
      process.wait(30)
      process.stdout.close()


def call(address, values=None, method=None):
  data = None if values is None else json.dumps(values).encode()
  request = urllib.request.Request(address, data, {'Content-Type': 'application/json'}, method=method)
  opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  with opener.open(request, timeout=60) as answer:
    return json.loads(answer.read())['value']
