"""The channels in a TIFF's tags: names, units and wavelengths from GDAL, OME or ImageJ, and the nodata value."""

import contextlib
import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
  from tifffile import TiffFile, TiffFrame, TiffPage

_GDAL_METADATA, _GDAL_NODATA = 42112, 42113  # numbers of the tags
# Errors of malformed text in tags; the image itself can still be read.
_ODD = (ElementTree.ParseError, ValueError, TypeError, AttributeError, KeyError, StopIteration)
_LONGEST = 2**22  # longest text of a tag: a longer one is no list of channels


def channel_names(file: 'TiffFile', count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Names and units of the channels; empty where the file does not name every channel, or names two alike.

  Args:
    file: an open TIFF.
    count: number of channels.
  """
  for read in (_from_gdal, _from_ome, _from_imagej):
    found: dict[int, tuple[str, str]] = {}
    with contextlib.suppress(*_ODD):
      found = read(file)
    names = tuple(found.get(channel, ('', ''))[0].strip() for channel in range(count))
    if all(names) and len(set(names)) == count:
      return names, tuple(found[channel][1] for channel in range(count))
  return (), ()


def other_files(file: 'TiffFile', name: str) -> list[str]:
  """The other files of an image that an OME-TIFF called `name` refers to."""
  with contextlib.suppress(*_ODD):
    if file.is_ome and file.ome_metadata is not None:
      root = _parsed(file.ome_metadata)
      places = [part for part in root.iter() if part.tag.rpartition('}')[2] == 'UUID']
      return [place.attrib['FileName'] for place in places if place.text != root.attrib.get('UUID')
              and place.attrib.get('FileName', name).lower() != name.lower()]
  return []


def nodata(page: 'TiffPage | TiffFrame') -> float | None:
  """The value of pixels without data in GDAL's tag, None where there is none."""
  tag = getattr(page, 'tags', {}).get(_GDAL_NODATA)  # a page that is like the first has none
  with contextlib.suppress(ValueError):
    return float(str(tag.value).strip('\0 ')) if tag is not None else None
  return None


def is_scaled(file: 'TiffFile') -> bool:
  """Whether GDAL's tag states that true values are the stored ones times a scale other than 1, plus an offset."""
  tag = file.pages.first.tags.get(_GDAL_METADATA)
  neutral = {'scale': 1.0, 'offset': 0.0}
  with contextlib.suppress(*_ODD):
    return tag is not None and any(float(item.text or 'nan') != neutral[item.attrib['role']]
                                   for item in _parsed(str(tag.value)).iter('Item')
                                   if item.attrib.get('role') in neutral)
  return False


def _from_gdal(file: 'TiffFile') -> dict[int, tuple[str, str]]:
  """The description, unit and wavelength of each channel, by index."""
  tag = file.pages.first.tags.get(_GDAL_METADATA)
  if tag is None:
    return {}
  names: dict[int, str] = {}
  units: dict[int, list[str]] = {}
  for item in _parsed(str(tag.value)).iter('Item'):
    if 'sample' not in item.attrib or not (item.text or '').strip():
      continue
    channel, text = int(item.attrib['sample']), (item.text or '').strip()
    role, name = item.attrib.get('role', ''), item.attrib.get('name', '').lower()
    if role == 'description':
      names[channel] = text
    elif role == 'unittype':
      units.setdefault(channel, []).insert(0, text)
    elif 'wavelength' in name and 'unit' not in name:
      units.setdefault(channel, []).append(f'wavelength {text}')
  return {channel: (name, ', '.join(units.get(channel, []))) for channel, name in names.items()}


def _from_ome(file: 'TiffFile') -> dict[int, tuple[str, str]]:
  """The name and wavelength of each channel, by index."""
  if not file.is_ome or file.ome_metadata is None:
    return {}
  pixels = next(part for part in _parsed(file.ome_metadata).iter() if part.tag.rpartition('}')[2] == 'Pixels')
  found = {}
  for channel, part in enumerate(part for part in pixels if part.tag.rpartition('}')[2] == 'Channel'):
    wavelength = part.attrib.get('EmissionWavelength') or part.attrib.get('ExcitationWavelength')
    if wavelength and math.isfinite(float(wavelength)):
      unit = part.attrib.get('EmissionWavelengthUnit') or part.attrib.get('ExcitationWavelengthUnit') or 'nm'
      found[channel] = part.attrib.get('Name', ''), f'wavelength {wavelength} {unit}'
    else:
      found[channel] = part.attrib.get('Name', ''), ''
  return found


def _from_imagej(file: 'TiffFile') -> dict[int, tuple[str, str]]:
  labels = (file.imagej_metadata or {}).get('Labels', [])
  return {channel: (str(label), '') for channel, label in enumerate(labels)}


def _parsed(text: str) -> ElementTree.Element:
  """Parses an XML text; one with a document type is refused, since its entities could grow without limit."""
  if '<!DOCTYPE' in text or len(text) > _LONGEST:
    raise ValueError('no plain XML')
  return ElementTree.fromstring(text)
