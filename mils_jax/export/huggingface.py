"""Downloads models from the Hugging Face Hub and uploads them, through its own client.

The address of a model is hf://USER/NAME, or hf://USER/NAME@REVISION. Tokens, the cache, a mirror (HF_ENDPOINT) and
working offline (HF_HUB_OFFLINE) are handled by the client (https://huggingface.co/docs/huggingface_hub).
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import mils_jax
from mils_jax import invocation
from mils_jax.errors import RunError, UserError, one_line
from mils_jax.export.sidecar import HUB_FILES
from mils_jax.packages import require
from mils_jax.progress import log
from mils_jax.training.run_folder import EXPORT

ADDRESS = 'hf://'
NAMELESS, CARD = 'USER/NAME', 'README.md'
FILES = (*HUB_FILES, EXPORT, CARD)


def is_address(text: object) -> bool:
  return isinstance(text, str) and text.startswith(ADDRESS)


def fetch(address: str) -> Path:
  """The folder of a model in the client's cache, downloaded where it is missing or outdated.

  Raises:
    UserError: the address is invalid, there is no such model, it cannot be reached, or the client is not installed.
  """
  repository, _, revision = address.removeprefix(ADDRESS).partition('@')
  check_name(repository, address)
  hub = import_client(address)
  try:
    return Path(hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES),
                                      library_name='mils-jax', library_version=mils_jax.__version__))
  except (hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError) as error:
    raise UserError(f'{address}: no such model, or none that you may read. Expected {ADDRESS}USER/NAME, or '
                    f'{ADDRESS}USER/NAME@REVISION of one that exists') from error
  except (hub.errors.LocalEntryNotFoundError, hub.errors.OfflineModeIsEnabled) as error:
    raise UserError(f'{address}: cannot be reached and is not in the cache. Expected a connection, or a model that '
                    'was fetched before') from error
  except Exception as error:  # any error of the client's HTTP library
    raise RunError(f'{address}: fetching failed: {one_line(error, 200)}') from error


def push(folder: Path, repository: str, private: bool) -> str:
  """Creates the model if needed and uploads a folder of the format hub; returns its address.

  The card's example then loads it from there. Files that export did not write are named and not uploaded.

  Raises:
    UserError: the name is invalid, there is no token, it may not write there, or the client is not installed.
    RunError: the hub cannot be reached, or failed.
  """
  hub, address = import_client('push'), f'{ADDRESS}{repository}'
  if others := sorted(path.name for path in folder.iterdir() if path.name not in FILES):
    log(f'not uploaded, since export does not write it: {", ".join(others)}')
  try:
    with tempfile.TemporaryDirectory() as copy:
      for name in FILES:
        if (folder / name).exists():  # the card is optional
          shutil.copyfile(folder / name, Path(copy) / name)
      card = Path(copy) / CARD
      if card.exists():
        card.write_text(card.read_text(encoding='utf-8').replace(ADDRESS + NAMELESS, address), encoding='utf-8')
      hub.create_repo(repository, exist_ok=True, private=private)
      hub.upload_folder(repo_id=repository, folder_path=copy,
                        commit_message=f'Exported by mils-jax {mils_jax.__version__}')
  except hub.errors.HfHubHTTPError as error:
    status = getattr(error.response, 'status_code', 0)
    if status in (401, 403, 404):
      raise UserError(f'{repository}: the token may not write there ({status}). Expected a token with the right to '
                      'write, and a USER that is its own or one of its organizations') from error
    raise RunError(f'{repository}: pushing failed: {one_line(error, 200)}') from error
  except Exception as error:  # any error of the client's HTTP library
    raise RunError(f'{repository}: pushing failed: {one_line(error, 200)}') from error
  return address


def check_push(repository: str) -> None:
  """Raises UserError, before any work is lost, where the name is invalid, or the client or a token is missing."""
  check_name(repository, repository)
  if not import_client('push').get_token():
    raise UserError(f'push to {repository}: there is no token. Expected one from `hf auth login`, or in HF_TOKEN')


def check_name(repository: str, given: str) -> None:
  """Raises UserError for a name that is not USER/NAME."""
  if not re.fullmatch(r'\w[\w.-]*/\w[\w.-]*', repository):
    raise UserError(f"'{given}' names no model of the hub. Expected USER/NAME, such as anna/landcover")


def import_client(what: str) -> Any:
  """Imports huggingface_hub; raises UserError where it is not installed."""
  for name in ('huggingface_hub.errors', 'huggingface_hub'):
    module = require(name, what, invocation.install('hub'))
  return module
