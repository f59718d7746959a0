"""The published claims, and whether the results of these runs support them."""

from mils_jax.channel_subsets import subset_name
from mils_jax.metrics import verdict
from mils_jax.report.document import Points, Section
from mils_jax.report.groups import BASELINE, Group
from mils_jax.report.published import SHARE, judge_share
from mils_jax.report.sections.subset_table import gap_sentence, subset_gaps, subset_series
from mils_jax.report.text import accuracy_text, share_text


def claims_section(groups: list[Group]) -> Section:
  """A sentence for each claim that these runs can judge."""
  complete = [group for group in groups if group.sees_all]
  baseline = next((group for group in complete if group.title == BASELINE), None)
  items = []
  if baseline:
    items += [_share_claim(group, baseline) for group in complete if group.title == 'WideCNN2']
    items += [_four_stages(group, baseline) for group in complete if group.title == 'WideCNN4']
  items += _channel_claims([group for group in groups if group.title == 'DynamicResNet12'])
  return Section('Published claims, measured here', [Points(items)] if items else [])


def _share_claim(group: Group, baseline: Group) -> str:
  share = group.share_of(baseline)
  return (f'Claim: two stages reach over {SHARE:.0%} of ResNet34\'s accuracy. {group.label} reaches '
          f'{share_text(share)}, {judge_share(share)}.')


def _four_stages(group: Group, baseline: Group) -> str:
  macs, parameters = (group.size(name) / baseline.size(name) for name in ('macs', 'parameters'))
  return (f'Claim: four wide stages match ResNet34. {verdict(group.against(baseline), group.label, baseline.label)}; '
          f'it takes {macs:.0%} of the MACs and {parameters:.0%} of the parameters.')


def _channel_claims(groups: list[Group]) -> list[str]:
  items = []
  for name, found in subset_series(groups).items() if groups else ():
    if len(found) > 1:
      who = f'O{name[1:]}' if name.startswith('one model') else f'DynamicResNet12, {name}'
      best, worst = max(found, key=lambda key: found[key].rate), min(found, key=lambda key: found[key].rate)
      items.append(f'Claim: accuracy is robust across combinations of channels. {who}: from '
                   f'{accuracy_text(found[best])} with {subset_name(best)} to {accuracy_text(found[worst])} with '
                   f'{subset_name(worst)}: {100 * (found[best].rate - found[worst].rate):.1f} points apart. That is an '
                   'overestimate, since best and worst were picked after the fact.')
  for group in groups:
    gaps = subset_gaps(group, groups)
    if gaps:
      items.append(f'Claim: one network serves any channels. {gap_sentence(group, gaps)}.')
  return items
