"""The page in a real browser, as wide as a desk's screen and as a phone's, in light and dark."""

import os
from pathlib import Path

import pytest

from mils_jax.report.write import write_report
from tests.report.browser import browser
from tests.report.test_report import make_runs

pytestmark = pytest.mark.slow
WIDE = """return [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && e.tagName != 'THEAD'
                 && !e.closest('thead')).map(e => e.tagName + ': ' + e.textContent.slice(0, 60))"""
UNREADABLE = """return [...document.querySelectorAll('main td, main th, p, li, figcaption, caption, pre')]
    .filter(e => !e.closest('thead') && e.textContent && e.checkVisibility())
    .filter(e => e.scrollWidth > e.clientWidth + 1 || parseFloat(getComputedStyle(e).fontSize) < 12)
    .map(e => e.tagName + ': ' + e.textContent.slice(0, 60))"""


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  folder = tmp_path_factory.mktemp('page')
  make_runs(folder / 'runs')
  write_report([f'{folder}/runs/*'], folder / 'out')
  return folder / 'out/report.html'


@pytest.mark.parametrize('width', [1280, 375])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_is_whole_in_a_real_browser(page, width, scheme):
  with browser(width) as window:
    window.set('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    window.open(page)
    assert window.run('return document.documentElement.clientWidth') == width
    assert window.run('return document.documentElement.scrollWidth') <= width
    assert window.run(WIDE) == []
    assert window.run(UNREADABLE) == []
    images = window.run('return [...document.images].map(e => [e.complete, e.naturalWidth, e.alt])')
    assert len(images) > 15
    assert all(complete and wide and text for complete, wide, text in images)
    assert window.run('return [...document.querySelectorAll("table")].every(e => e.rows.length > 1)')
    paper = window.run('return getComputedStyle(document.body).backgroundColor')
    assert paper == ('rgb(255, 255, 255)' if scheme == 'light' else 'rgb(18, 22, 28)')
    assert window.messages() == []
    if os.environ.get('MILS_SCREENSHOTS'):
      window.screenshot(Path(os.environ['MILS_SCREENSHOTS']) / f'{width}-{scheme}.png')


def test_on_paper_it_is_light_and_fits(page):
  with browser(794) as window:  # A4 at 96 pixels to the inch
    window.set('Emulation.setEmulatedMedia', media='print',
               features=[{'name': 'prefers-color-scheme', 'value': 'dark'}])
    window.open(page)
    assert window.run('return document.documentElement.scrollWidth') <= 794
    assert window.run('return getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
    assert window.run('return getComputedStyle(document.images[0]).colorScheme') == 'light'


def test_a_phone_names_each_cell_and_a_desk_each_column(page):
  cell = "return getComputedStyle(document.querySelector('td'), '::before').content"
  with browser(375) as window:
    window.open(page)
    assert 'accuracy' in window.run(cell)
  with browser(1280) as window:
    window.open(page)
    assert window.run(cell) == 'none'
    assert window.run("return document.querySelector('thead').checkVisibility()")
