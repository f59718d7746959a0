import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from mils_jax.data.inputs import ModelChannels, fit, open_inputs, settled_reading
from mils_jax.data.sources.names import Listing
from mils_jax.data.sources.pixels import Decoded, Reading
from mils_jax.data.sources.placing import placed
from mils_jax.data.sources.source import COLOUR as BY_COLOUR
from mils_jax.data.sources.source import LISTED, OWN, Statement
from mils_jax.errors import UserError

IMAGE = np.arange(8 * 8 * 4, dtype=np.uint8).reshape(8, 8, 4)
COLOUR = ('R', 'G', 'B')


def fitted(input_channels, color=(), listed=(), own=(), data=(), count=None, flagged=False, training=None):
  """Which channel of the image each input channel gets."""
  decoded = Decoded(IMAGE[..., :count or len(color or listed or own)], names=own, color=color)
  listing = Listing('channels.txt', listed, ('',) * len(listed)) if listed else None
  image, names, _ = fit(decoded, listing, ModelChannels(tuple(input_channels), tuple(data), flagged, training))
  own_channels = {IMAGE[..., channel].tobytes(): channel for channel in range(4)}
  return {name: own_channels[image[..., place].tobytes()] for place, name in enumerate(names) if name}


@pytest.mark.parametrize(('color', 'input_channels', 'expected'), [
    (('grey',), COLOUR, {'R': 0, 'G': 0, 'B': 0}),
    (('grey', 'alpha'), COLOUR, {'R': 0, 'G': 0, 'B': 0}),
    (('grey', 'alpha'), (*COLOUR, 'alpha'), {'R': 0, 'G': 0, 'B': 0, 'alpha': 1}),
    (('grey',), ('grey', *COLOUR), {'grey': 0}),
])
def test_only_a_grey_image_is_spread_over_the_colours(color, input_channels, expected):
  assert fitted(input_channels, color) == expected


def test_a_grey_channel_among_others_is_no_colour():
  assert fitted((*COLOUR, 'nir'), listed=('grey', 'nir')) == {'nir': 1}
  with pytest.raises(UserError, match=r'nir, grey, .*none fits'):
    fitted(COLOUR, listed=('nir', 'grey'))


def test_what_nothing_names_is_as_the_training_data_was():
  bands = ('NIR', 'R', 'G')
  assert fitted(bands, COLOUR, data=bands) == {'NIR': 0, 'R': 1, 'G': 2}
  assert fitted(('G', 'NIR'), COLOUR, data=bands) == {'NIR': 0, 'G': 2}  # of a run that was given two of them
  assert fitted((*bands, 'B'), COLOUR, data=(*bands, 'B')) == {'R': 0, 'G': 1, 'B': 2}  # which four channels are not
  assert fitted(COLOUR, data=COLOUR, count=2) == {'R': 0, 'G': 1}
  with pytest.raises(UserError, match='4 channels without names; expected at most 3: NIR, R, G'):
    fitted(bands, data=bands, count=4)


def test_names_go_by_how_near_they_are():
  bands = ('NIR', 'R', 'G')
  assert fitted(bands, COLOUR, listed=('G', 'R', 'NIR'), own=bands, data=bands) == {'G': 0, 'R': 1, 'NIR': 2}
  assert fitted(bands, COLOUR, own=('R', 'NIR', 'G'), data=bands) == {'R': 0, 'NIR': 1, 'G': 2}
  renamed = ('B08', 'B04', 'B03')
  assert fitted(bands, own=renamed, data=bands, flagged=True) == {'NIR': 0, 'R': 1, 'G': 2}
  assert fitted(bands, own=renamed, data=bands) == {'NIR': 0, 'R': 1, 'G': 2}
  with pytest.raises(UserError, match=r'B08, B04, B03, .*none fits'):
    fitted(bands, listed=renamed, data=bands)


@pytest.mark.parametrize('where', ['own', 'listed'])
@pytest.mark.parametrize('names', [('B08', 'B04', 'B03'), ('R', 'G', 'NIR'), ('G', 'blue', 'R')])
def test_names_by_the_configuration_overrule_a_file_as_in_training(where, names):
  bands = ('NIR', 'R', 'G')
  assert fitted(bands, data=bands, flagged=True, **{where: names}) == {'NIR': 0, 'R': 1, 'G': 2}
  decoded = Decoded(IMAGE[..., :3], names=names if where == 'own' else ())
  listing = Listing('channels.txt', names, ('',) * 3) if where == 'listed' else None
  assert np.array_equal(placed(decoded, bands, listing, True, True, 'x')[0], IMAGE[..., :3])


BANDS = ('blue', 'green', 'red', 'nir')


@pytest.mark.parametrize(('own', 'expected'), [
    (('Red', 'Green', 'Blue', 'NIR'), {'red': 0, 'green': 1, 'blue': 2, 'nir': 3}),
    (('R', 'G', 'B', 'swir'), {'red': 0, 'green': 1, 'blue': 2}),
    (('nir', 'red'), {'nir': 0, 'red': 1}),
])
@pytest.mark.parametrize('training', [None, Statement(), Statement(OWN, BANDS)])
def test_names_mean_the_same_in_any_letters(own, expected, training):
  assert fitted(BANDS, own=own, data=BANDS, training=training) == expected


@pytest.mark.parametrize('statement', [
    Statement(OWN, ('B02', 'B03', 'B04', 'B08')), Statement(LISTED, ('red', 'green', 'blue', 'nir')), Statement()])
def test_names_by_the_configuration_are_those_of_files_like_the_training_files_alone(statement):
  given = {'data': BANDS, 'flagged': True, 'training': statement}
  in_order = dict(zip(BANDS, range(4), strict=True))
  assert fitted(BANDS, count=4, **given) == in_order
  if statement.names:
    where = {OWN: 'own', LISTED: 'listed'}[statement.by]
    assert fitted(BANDS, **{where: statement.names}, **given) == in_order
  other = 'listed' if statement.by == OWN else 'own'
  turned = ('nir', 'red', 'green', 'blue')
  assert fitted(BANDS, **{other: turned}, **given) == dict(zip(turned, range(4), strict=True))
  with pytest.raises(UserError, match=r'B03, B04, B08, B11, .*none fits'):
    fitted(BANDS, **{other: ('B03', 'B04', 'B08', 'B11')}, **given)


def test_a_colour_image_is_no_infrared_one_unless_the_training_images_were():
  bands = ('nir', 'red', 'green')
  for flagged in (False, True):
    given = {'data': bands, 'flagged': flagged}
    assert fitted(bands, COLOUR, training=Statement(BY_COLOUR, COLOUR), **given) == {'nir': 0, 'red': 1, 'green': 2}
    assert fitted(bands, COLOUR, training=Statement(OWN, ('B8', 'B4', 'B3')), **given) == {'red': 0, 'green': 1}
  radar = ('VV', 'VH', 'ratio')
  with pytest.raises(UserError, match=r'R, G, B, .*VV, VH, ratio: none fits'):
    fitted(radar, COLOUR, data=radar, training=Statement(OWN, radar))
  alpha = (*COLOUR, 'alpha')
  with pytest.raises(UserError, match=r"may be any of the data's blue, green, red, nir\. --channels names them"):
    fitted(BANDS, alpha, data=BANDS, training=Statement(OWN, BANDS))
  assert fitted(('blue', 'red'), alpha, data=('blue', 'red'), training=Statement()) == {'red': 0, 'blue': 2}
  false_colour = {'data': bands, 'flagged': True, 'training': Statement(BY_COLOUR, COLOUR)}
  assert fitted(bands, alpha, **false_colour) == {'nir': 0, 'red': 1, 'green': 2}
  alike = Statement(BY_COLOUR, alpha)
  assert fitted(BANDS, alpha, data=BANDS, training=alike) == dict(zip(BANDS, range(4), strict=True))


def test_an_older_checkpoint_takes_channels_in_order_with_a_note():
  for flagged, reason in ((True, 'by data.channel_names'), (False, 'in order')):
    channels = ModelChannels(('B', 'G', 'R'), ('B', 'G', 'R'), flagged)
    _, names, notes = fit(Decoded(IMAGE[..., :3], color=COLOUR), None, channels)
    assert names == ['B', 'G', 'R']
    assert notes == [f'channels called R, G, B were read as B, G, R, {reason}']


def test_names_that_are_numbers_say_an_order_and_others_are_not_taken_for_the_channels():
  given = {'data': BANDS, 'training': Statement(OWN, BANDS)}
  assert fitted(BANDS, own=('Band 1', 'Band 2', 'Band 3', 'Band 4'), **given) == dict(zip(BANDS, range(4), strict=True))
  for other in (('hh', 'hv', 'vh', 'vv'), ('Band 4', 'Band 3', 'Band 2', 'Band 1'), ('490', '560', '665', '842')):
    with pytest.raises(UserError, match='none fits'):
      fitted(BANDS, own=other, **given)


def test_what_training_files_called_a_channel_is_its_name_in_any_order():
  given = {'data': BANDS, 'flagged': True, 'training': Statement(OWN, ('B02', 'B03', 'B04', 'B08'))}
  assert fitted(BANDS, own=('B08', 'B04', 'B03', 'B02'), **given) == {'nir': 0, 'red': 1, 'green': 2, 'blue': 3}
  assert fitted(BANDS, own=('B04', 'B11'), **given) == {'red': 0}


@pytest.mark.parametrize('training', [Statement(), Statement(BY_COLOUR, COLOUR), Statement(LISTED, BANDS)])
def test_bands_are_not_counted_where_training_knew_none(tmp_path, training):
  for band in ('B02', 'B03', 'B04', 'B08'):
    tifffile.imwrite(tmp_path / f'x_{band}.tif', np.zeros((8, 8), np.uint16))
  channels = ModelChannels(BANDS, BANDS, True, training)
  with pytest.raises(UserError, match=r'B02, B03, B04, B08, .*none fits'):
    fit(*open_inputs([str(tmp_path)], Reading(8), channels).read(0), channels)


def test_bands_go_by_what_the_training_files_were_called(tmp_path):
  for level, band in enumerate(('B03', 'B04', 'B08', 'B11')):
    tifffile.imwrite(tmp_path / f'x_{band}.tif', np.full((8, 8), level, np.uint16))
  channels = ModelChannels(BANDS, BANDS, True, Statement(OWN, ('B02', 'B03', 'B04', 'B08')))
  decoded, listing = open_inputs([str(tmp_path)], Reading(8), channels).read(0)
  image, names, notes = fit(decoded, listing, channels)
  assert [(name, int(image[0, 0, place])) for place, name in enumerate(names)] == [
      ('green', 0), ('red', 1), ('nir', 2), (None, 3)]
  assert notes == ['left out, because the model has no channel of this name: B11']


def test_an_image_with_an_alpha_band_is_noted(tmp_path):
  tifffile.imwrite(tmp_path / 'x.tif', IMAGE, photometric='rgb', extrasamples=['unassalpha'])
  tifffile.imwrite(tmp_path / 'y.tif', IMAGE, photometric='rgb', extrasamples=['unspecified'])
  assert read(tmp_path / 'x.tif')[0].color == (*COLOUR, 'alpha')
  assert read(tmp_path / 'y.tif')[0].color == ()
  tifffile.imwrite(tmp_path / 'z.tif', IMAGE.astype(np.uint16), photometric='rgb', extrasamples=['unassalpha'])
  assert read(tmp_path / 'z.tif')[0].color == ()  # what tifffile calls whatever it is given


def test_bands_are_renamed_as_in_training(tmp_path):
  for tile, bands in {'a': ('B04', 'B03'), 'b': ('B08', 'B04', 'B03')}.items():
    for level, band in enumerate(bands, 1):
      tifffile.imwrite(tmp_path / f'{tile}_{band}.tif', np.full((8, 8), level, np.uint16))
  inputs = open_inputs([str(tmp_path)], Reading(8), ModelChannels(*[('G', 'R', 'NIR')] * 2, flagged=True))
  decoded = inputs.read(0)[0]
  assert (decoded.names, decoded.pixels[0, 0].tolist()) == (('G', 'R'), [2, 1])


def test_a_list_of_more_channels_than_an_image_has_names_the_first():
  assert fitted((*COLOUR, 'nir'), listed=('B', 'G', 'R', 'nir'), count=3) == {'B': 0, 'G': 1, 'R': 2}


def read(path, index=0, **reading):
  return open_inputs([str(path)], Reading(8, **reading)).read(index)


@pytest.mark.parametrize(('name', 'save'), [
    ('x.npy', lambda path: np.save(path, IMAGE[..., :3])),
    ('y.npy', lambda path: np.save(path, IMAGE[None, ..., :3])),
    ('x.npz', lambda path: np.savez(path, images=IMAGE[None, ..., :3])),
])
def test_unnamed_channels_of_an_array_fill_the_first_channels(tmp_path, name, save):
  save(tmp_path / name)
  for input_channels in (('red', 'green', 'blue', 'nir'), ('nir', *COLOUR)):
    _, names, notes = fit(*read(tmp_path / name), ModelChannels(input_channels))
    assert tuple(names) == input_channels[:3]
    assert notes == [f'channels without names filled the first channels: {", ".join(input_channels[:3])}']


def test_three_channels_of_an_image_are_red_green_and_blue(tmp_path):
  Image.fromarray(IMAGE[..., :3]).save(tmp_path / 'x.png')
  tifffile.imwrite(tmp_path / 'x.tif', IMAGE[..., :3], photometric='rgb')
  for name in ('x.png', 'x.tif'):
    assert read(tmp_path / name)[0].color == COLOUR


@pytest.mark.parametrize(('data_channels', 'expected'), [(('grey',), 'grey'), (COLOUR, 'rgb'), (('a',) * 7, 'rgb')])
def test_images_are_read_in_colour_or_grey_as_the_training_data_was(data_channels, expected):
  assert settled_reading(Reading(color='auto'), data_channels).color == expected
  assert settled_reading(Reading(color='as_is'), data_channels).color == 'as_is'


def listed_at(path, **options):
  listing = open_inputs([str(path)], Reading(8), **options).read(0)[1]
  return listing and listing.names


def test_a_list_of_channels_is_searched_up_to_the_input_and_beyond_it_in_the_set_that_it_is_a_part_of(tmp_path):
  image = tmp_path / 'set/test/cat/x.png'
  image.parent.mkdir(parents=True)
  Image.fromarray(IMAGE[..., :3]).save(image)
  (tmp_path / 'channels.txt').write_text('a\nb\nc\n')
  parts = (tmp_path / 'set', tmp_path / 'set/test', image.parent, image)
  assert [listed_at(path) for path in (tmp_path, *parts)] == [('a', 'b', 'c')] * 2 + [None] * 3
  for mark in ('Training', 'TRAIN.csv', 'training.txt'):
    (tmp_path / 'set' / mark).mkdir()
    (tmp_path / 'set/channels.txt').write_text('NIR\nR\nG\n')
    assert {listed_at(path) for path in parts} == {('NIR', 'R', 'G')}
    (tmp_path / 'set' / mark).rmdir()
    (tmp_path / 'set/channels.txt').unlink()
  (tmp_path / 'set/train').mkdir()
  (tmp_path / 'set/channels.txt').write_text('NIR\nR\nG\n')
  assert {listed_at(path) for path in parts} == {('NIR', 'R', 'G')}
  notes = open_inputs([str(tmp_path / 'set/test')], Reading(8)).notes
  assert notes == (f'{tmp_path}/set/channels.txt names the channels',)
  (tmp_path / 'set/test/channels.txt').write_text('G\nR\nNIR\n')
  assert {listed_at(path) for path in parts} == {('G', 'R', 'NIR')}


def test_what_is_no_image_is_counted_and_an_image_that_cannot_be_read_has_its_place(tmp_path):
  Image.fromarray(IMAGE[..., :3]).save(tmp_path / 'b.jp2')
  (tmp_path / 'a.heic').write_bytes(b'x')
  for name in ('labels.csv', 'notes.txt', 'more.txt'):
    (tmp_path / name).write_text('x')
  inputs = open_inputs([str(tmp_path)], Reading(8))
  assert [name.rpartition('/')[2] for name in inputs.example_ids] == ['a.heic', 'b.jp2']
  assert inputs.notes == (f'left out, because they are no images: .txt (2), .csv (1), such as {tmp_path}/labels.csv',)
  assert inputs.read(1)[0].pixels.shape == (8, 8, 3)
  with pytest.raises(UserError, match=r'a\.heic: is of a format that is not read here\. Valid: \.jpg'):
    inputs.read(0)


def test_several_files_are_taken_in_their_order(tmp_path):
  for number, name in enumerate(('b.png', 'a.png')):
    Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / name)
  inputs = open_inputs([str(tmp_path / 'b.png'), str(tmp_path / 'a.png')], Reading(8))
  assert [inputs.read(index)[0].pixels.max() for index in range(2)] == [0, 1]
  with pytest.raises(UserError, match=r'a folder or an \.npz comes alone'):
    open_inputs([str(tmp_path / 'b.png'), str(tmp_path)], Reading(8))


def save_to(path, save, *arrays, **named):
  with open(path, 'wb') as file:  # NumPy would append the suffix that fits
    save(file, *arrays, **named)
  return str(path)


def test_an_array_file_is_what_it_holds_whatever_it_is_called(tmp_path):
  path = save_to(tmp_path / 'x.npy', np.savez, test_images=IMAGE[None], bands=list('wxyz'))
  archive = open_inputs([path], Reading(8))
  assert archive.example_ids == ['test_images[0]']
  assert archive.read(0)[1].names == tuple('wxyz')
  many = open_inputs([save_to(tmp_path / 'x.npz', np.save, np.stack([IMAGE, IMAGE + 1]))], Reading(8))
  assert many.example_ids == ['x[0]', 'x[1]']
  assert (many.read(1)[0].pixels == IMAGE + 1).all()
  with pytest.raises(UserError, match=r'one array of the shape \(8, 8, 4\); call an image \.npy'):
    open_inputs([save_to(tmp_path / 'one.npz', np.save, IMAGE)], Reading(8))


@pytest.mark.parametrize(('arrays', 'message'), [
    ({'images': np.zeros((10**12, 0, 4, 3), np.uint8)}, 'holds no images'),
    ({'images': IMAGE[None], 'bands': [['a', 'b'], ['c', 'd']]}, r'bands has the shape \(2, 2\)'),
    ({'images': np.array([None])}, 'images does not load: Object arrays cannot be loaded'),
])
def test_arrays_that_are_no_images_or_names(tmp_path, arrays, message):
  with pytest.raises(UserError, match=message):
    open_inputs([save_to(tmp_path / 'x.npz', np.savez, **arrays)], Reading(8))


def test_what_is_not_compressed_is_read_where_it_lies(tmp_path):
  images = np.stack([IMAGE, IMAGE + 1])
  found = [open_inputs([save_to(tmp_path / f'{save.__name__}.npz', save, images=images, channels=np.array('nir'))],
                       Reading(8)).read(1) for save in (np.savez, np.savez_compressed)]
  assert [isinstance(one.pixels, np.memmap) for one, _ in found] == [True, False]
  assert all((one.pixels == images[1]).all() and listing.names == ('nir',) for one, listing in found)


def test_a_member_that_is_no_array(tmp_path):
  path = tmp_path / 'x.npz'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('images', b'text')
  with pytest.raises(UserError, match='images does not load'):
    open_inputs([str(path)], Reading(8))
