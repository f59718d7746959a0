from mils_jax.training.logging import Writers
from mils_jax.training.run_folder import RunFolder


def test_each_step_is_there_once_however_often_a_run_resumes(tmp_path):
  folder = RunFolder(tmp_path)
  writers = Writers(folder, 0)
  for step in (8, 16, 24):
    writers.write({'step': step, 'loss': 1.0}, {'step': step, 'seconds': 2.0})
  Writers(folder, 16).write({'step': 16, 'loss': 1.0}, {'step': 16, 'seconds': 3.0})  # validated again
  assert [line['step'] for line in folder.read_metrics()] == [8, 16]
  Writers(folder, 12)
  assert [line['step'] for line in folder.read_metrics()] == [8]


def test_a_line_of_timings_that_was_cut_short_goes(tmp_path):
  folder = RunFolder(tmp_path)
  folder.timings.write_text('{"step": 8}\n{"st')
  Writers(folder, 8)
  assert folder.timings.read_text() == '{"step": 8}\n'
