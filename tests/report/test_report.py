"""The whole report on runs of known accuracy, as text and as a page."""

import json
import re
from html.parser import HTMLParser

import pytest

from mils_jax.errors import UserError
from mils_jax.metrics import RelativeAccuracy
from mils_jax.report import thumbnails
from mils_jax.report.document import Document, Examples, Figure, Figures, Points, Section, Table, Text
from mils_jax.report.html import to_html
from mils_jax.report.markdown import escape, to_markdown
from mils_jax.report.published import judge_share
from mils_jax.report.text import duration
from mils_jax.report.write import write_report
from tests.report.fakes import add_compression, add_diagnostics, add_subsets, fake_run
from tests.runs import mount, unmount

NAMES = ['ant', 'bee', '<script>alert(1)</script>', 'cow|pipe', '"quoted"']


def make_runs(folder):
  """Both tables' runs, one that stopped, and a model that was measured over subsets."""
  for seed, accuracy in enumerate((0.64, 0.68)):
    fake_run(folder / f'wide4-{seed}', accuracy=accuracy, seed=seed, names=NAMES)
  fake_run(folder / 'wide2', accuracy=0.3, names=NAMES, **{'model.stages': 2})
  fake_run(folder / 'resnet34', 'resnet34', 0.66, names=NAMES)
  for channels, accuracy in (('RGB', 0.7), ('R', 0.6)):
    fake_run(folder / channels, 'task_a', accuracy, channels=tuple(channels), names=NAMES)
  one = fake_run(folder / 'one', 'task_a', 0.69, names=NAMES, **{'channel_dropout.method': 'hierarchical'})
  add_subsets(one, {'RGB': 0.69, 'R': 0.55}, {'R': (290, 60, 18, 82), 'G': (295, 24, 20, 111)})
  add_diagnostics(one)
  (fake_run(folder / 'stopped', names=NAMES) / 'results.json').unlink()


@pytest.fixture(scope='module')
def report(tmp_path_factory):
  """The printed lines, the text and the page."""
  folder = tmp_path_factory.mktemp('report')
  make_runs(folder / 'runs')
  lines = write_report([f'{folder}/runs/*'], folder / 'out')
  return lines, (folder / 'out/report.md').read_text(), (folder / 'out/report.html').read_text(), folder / 'out'


def test_both_tables_stand_beside_the_published_figures(report):
  text = re.sub(' +', ' ', report[1])
  assert re.search(r'\| ResNet34, as published \| 65.33% \[60.8 to 69.6\] .*614.6 M \| +1.229 G \| +21.34 M', text)
  assert re.search(r'\| WideCNN4 \| 66.00% \[61.5 to 70.2\] \| std 2.83 over 2 seeds', text)
  # specialist, one model, published
  assert re.search(r'\| R \| 60.00% .*\| 55.\d\d% .*\| 70.00% \[65.6 to 74.1\]', text)
  assert '2.637 G at 84x84, are 2 x MACs' in text
  assert re.search(r'\| G \| \+0.9 \| \[-2.0 to \+3.8\] \| 0.65 \| 0.65 \|', text)  # alone and by Holm


def test_claims_and_comparisons_are_sentences_that_are_printed_too(report):
  lines, text, *_ = report
  printed = '\n'.join(lines)
  assert re.search(r'WideCNN2 is 36.0 points .* It reaches 45.5% \[.*\] of its accuracy \(below 90%\) with ', printed)
  assert re.search(r'over 90% of ResNet34\'s accuracy\. WideCNN2 reaches 45\.5% \[.*\], below 90%\.', printed)
  assert re.search(r'WideCNN4 and ResNet34 are equally good on 450 images: not distinguishable', printed)
  assert re.search(r'WideCNN2 is 36.0 points worse than ResNet34 on 450 images: distinguishable', text)
  assert 'of channels. One model for all: from 68.89' in printed
  assert 'Claim: one network serves any channels. Mean over 2 subsets: ' in printed


def test_an_unfinished_run_is_listed(report):
  lines, text, page, _ = report
  for shown in ('\n'.join(lines), text.replace('\\', ''), page):
    assert 'runs/stopped' in shown
    assert 'not finished: 6 of 6 epochs' in shown


def test_every_run_has_the_command_that_reproduces_it(report):
  assert '    python main.py --config configs/resnet34.py --config.train.seed=0' in report[1]
  assert '<span>--config</span> <span>configs/resnet34.py</span> <span>--config.train.seed=0</span></code>' in report[2]
  assert 'model.stages=2' in report[1].replace('\\', '')
  assert 'ab' * 12 in report[1]


class Reader(HTMLParser):
  """Collects what a page would load, which images have no text, and which elements are not closed."""

  def __init__(self):
    super().__init__()
    self.loads, self.untold, self.open, self.scripts = [], [], [], 0

  def handle_starttag(self, tag, attributes):
    values = dict(attributes)
    self.loads += [values[name] for name in ('src', 'href') if name in values]
    self.scripts += tag == 'script'
    if tag == 'img' and not values.get('alt'):
      self.untold.append(values)
    if tag not in ('img', 'meta', 'link', 'br'):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(report):
  reader = Reader()
  reader.feed(report[2])
  assert reader.open == []
  assert reader.untold == []
  assert reader.scripts == 0
  assert all(address.startswith(('data:', '#')) for address in reader.loads)
  assert '&lt;script&gt;alert(1)' in report[2]


def test_every_image_of_the_text_exists(report):
  images = re.findall(r'!\[.*?\]\((figures/.*?)\)', report[1])
  assert len(images) == len(set(images)) > 15
  for image in images:
    assert not re.search(r'[\s()]', image), 'no address that a link can have'
    assert (report[3] / image).stat().st_size


def test_text_and_page_show_names_as_they_are(tmp_path):
  document = Document('t', 'l', [Section('S', [
      Text('a * b'), Points(['<b>', '95% of 3']),
      Table('c', ['x', 'y|z', 'why'], [['_1_', '2', 'so']], words=('why',)),
      Examples('e', [(b'png', 'a "q"')]), Figures([Figure('One (k=1)-0', '<svg/>', 'c', 'a figure')])]),
      Section('empty', [])])
  text = to_markdown(document, tmp_path / 'figures')
  assert '| x     | y\\|z | why |\n|-------|-----:|-----|' in text  # words begin at the left
  assert r'a \* b' in text
  assert r'- \<b>' in text
  assert 'empty' not in text
  assert '![a figure](figures/one-k-1-0.svg)' in text
  assert (tmp_path / 'figures/one-k-1-0.svg').read_text() == '<svg/>'
  page = to_html(document)
  assert '<li>&lt;b&gt;</li>' in page
  assert 'alt="a &quot;q&quot;"' in page
  assert '<li>95% of 3</li>' in page
  assert 'data-column="y|z">2</td><td data-column="why" class="words">so</td>' in page


def test_runs_whose_networks_have_other_channels_stand_in_one_table(tmp_path):
  fake_run(tmp_path / 'runs/a', 'resnet34')
  fake_run(tmp_path / 'runs/b', 'resnet34', channels=('nir', 'R', 'G', 'B'), input_channels=('nir', 'R', 'G', 'B'),
           **{'channels.names': 'nir,R,G,B'})
  write_report([f'{tmp_path}/runs/*'], tmp_path / 'out')
  text = (tmp_path / 'out/report.md').read_text().split('| channels ')[1]
  assert re.findall(r'^\| (\S+) +\|.*74\.81 M', text, re.MULTILINE) == ['nir+R+G+B', 'RGB']


def test_a_cache_that_another_user_keeps_shut_costs_only_the_images(tmp_path, monkeypatch):
  def shut(folder):
    raise PermissionError(13, 'Permission denied', str(folder))

  fake_run(tmp_path / 'runs/one')
  monkeypatch.setattr(thumbnails, 'open_folder', shut)
  write_report([f'{tmp_path}/runs/*'], tmp_path / 'out')
  assert (tmp_path / 'out/report.html').stat().st_size > 10_000


@pytest.mark.parametrize(('accuracy', 'shown'), [(1.0, False), (0.6, True)])
def test_images_are_missed_only_where_there_are_errors_to_show(accuracy, shown, tmp_path):
  fake_run(tmp_path / 'runs/one', accuracy=accuracy)
  write_report([f'{tmp_path}/runs/*'], tmp_path / 'out')
  text = (tmp_path / 'out/report.md').read_text()
  assert ('predicted the right class for every image' in text) is not shown
  assert ('Example images are not shown: the dataset is no longer in the cache.' in text) is shown


def test_what_is_not_there_is_not_spoken_of(tmp_path):
  for stages in (2, 3):
    fake_run(tmp_path / f'runs/wide{stages}', **{'model.stages': stages})
  write_report([f'{tmp_path}/runs/*'], tmp_path / 'out')
  text = (tmp_path / 'out/report.md').read_text()
  assert 'published' not in text
  assert 'share of ResNet34' not in text
  assert 'there is one comparison.' in text


@pytest.mark.parametrize(('ratio', 'error', 'expected'), [
    (1.0, 0.02, 'above 90%'), (0.8, 0.02, 'below 90%'), (0.95, 0.05, 'not distinguishable from 90%')])
def test_a_claim_is_judged_by_its_interval(ratio, error, expected):
  assert expected == judge_share(RelativeAccuracy(ratio, error))


def test_a_report_that_cannot_be_written_is_refused(tmp_path):
  fake_run(tmp_path / 'runs/one')
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written'):
    write_report([f'{tmp_path}/runs/*'], tmp_path / 'file')


@pytest.mark.slow
def test_so_is_one_on_a_read_only_disk(tmp_path):
  fake_run(tmp_path / 'runs/one')
  mount(tmp_path, 'ro')
  try:
    with pytest.raises(UserError, match=r'cannot be written to .*/disk: Read-only file system\. Give another'):
      write_report([f'{tmp_path}/runs/*'], tmp_path / 'disk')
  finally:
    unmount(tmp_path)


def test_the_attention_is_listed_for_all_channels(report):
  listed = [line.split('|')[1].strip() for line in report[1].splitlines() if line.startswith('| stage1')]
  assert 'attention over kernels with RGB, by layer' in report[1]
  assert len(listed) == len(set(listed)) == 4


def test_the_time_of_a_resumed_run_is_only_what_was_timed(tmp_path):
  folder = fake_run(tmp_path / 'runs/run')
  lines = [json.loads(line) for line in (folder / 'timings.jsonl').read_text().splitlines()]
  seconds = sum(line['train_seconds'] + line['validation_seconds'] for line in lines)
  for number, (whole, expected) in enumerate(((True, ''), (False, 'at least '))):
    (folder / 'timings.jsonl').write_text(''.join(
        json.dumps({**line, 'whole': whole or line['epoch'] != 3}) + '\n' for line in lines))
    out = tmp_path / f'out{number}'
    write_report([f'{tmp_path}/runs/*'], out)
    text = (out / 'report.md').read_text().replace('\u00a0', ' ')
    assert f'{expected}{duration(seconds)} |' in text
    assert ('at least' in text) == bool(expected)


def test_a_compressed_run_takes_no_training_curves_from_the_others(tmp_path):
  fake_run(tmp_path / 'runs/full', 'task_a')
  add_compression(fake_run(tmp_path / 'runs/merged', 'task_a', **{'model.num_kernels': 1}))
  write_report([f'{tmp_path}/runs/*'], tmp_path / 'out')
  text = (tmp_path / 'out/report.md').read_text().replace('\\', '')
  curves = re.search(r'!\[(Lines of accuracy by epoch.*?)\]', text)[1]
  assert 'DynamicResNet12: ' in curves
  assert 'merged' not in curves
  assert re.search(r'runs/merged +\| model.num_kernels=1, merged from 4 kernels +\|', text)


@pytest.mark.parametrize(('text', 'expected'), [
    ('66.00% [61.5 to 70.2], p < 0.001, wide_cnn2', '66.00% [61.5 to 70.2], p < 0.001, wide_cnn2'),
    ('_it_ *is* `so` <b> a|b ~~x~~', r'\_it\_ \*is\* \`so\` \<b> a\|b \~~x\~~'),
    ('# [a](b) &lt;', r'\# \[a](b) \&lt;'), ('- x', r'\- x'), ('-5 points', '-5 points')])
def test_markdown_escapes_what_it_would_take_for_its_own_and_no_more(text, expected):
  assert escape(text) == expected


def test_a_run_of_before_schema_2_is_reported_like_a_new_one(tmp_path):
  accuracies, importance = {'RGB': 0.69, 'R': 0.55}, {'R': (290, 60, 18, 82), 'G': (295, 24, 20, 111)}
  texts = []
  for name, old in (('old', True), ('new', False)):
    for channels, accuracy in (('RGB', 0.7), ('R', 0.6)):
      fake_run(tmp_path / name / channels, 'task_a', accuracy, channels=tuple(channels))
    one = fake_run(tmp_path / name / 'one', 'task_a', 0.69, **{'channel_dropout.method': 'hierarchical'})
    add_subsets(one, accuracies, importance, old=old)
    write_report([f'{tmp_path}/{name}/*'], tmp_path / name / 'out')
    text = (tmp_path / name / 'out/report.md').read_text()
    texts.append([line for line in text.splitlines() if line.startswith(('| R', '| G', '| mean'))])
  assert texts[0] == texts[1]
  assert len(texts[0]) == 7  # two subsets; two differences and their mean; two channels
