"""Choosing some samples of a data set."""

from collections import defaultdict

import numpy as np
from mmengine.logging import MMLogger

from mman.utils import UserError


class ChoosesSamples:
    """For data sets of mmengine: ``per_class`` draws as many samples of every class.

    ``indices`` takes the first samples, or those at some places; where a number of them
    leaves classes out, it says so in the log.
    """

    per_class: int | None = None

    def choose_per_class(self, count: int | None, seed: int, indices: object) -> None:
        """Check the keys ``per_class`` and ``per_class_seed``, before samples are read.

        Raises:
            UserError: If a key has a wrong value, or ``indices`` is given too.
        """
        name = type(self).__name__
        if count is not None and (type(count) is not int or count < 1):
            raise UserError(f'{name}: per_class={count!r} must be an integer from 1 on.')
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise UserError(
                f'{name}: per_class_seed={seed!r} must be an integer from 0 to 2**32 - 1.'
            )
        if count is not None and indices is not None:
            raise UserError(
                f'{name}: per_class={count!r} and indices={indices!r} both choose samples: leave '
                'one out.'
            )
        self.per_class, self.per_class_seed = count, seed

    def length_of(self, total: int) -> int:
        """How many of ``total`` samples will be there.

        Raises:
            UserError: If the keys ask for samples that are not there.
        """
        if self.per_class is None:
            return self._count_of_indices(total)
        return self.per_class * len(self.metainfo['classes'])

    def filter_data(self) -> list[dict]:
        """Draw the samples; they keep their order.

        Raises:
            UserError: If the keys ask for samples that are not there.
        """
        samples = super().filter_data()
        if self.per_class is not None:
            return [samples[place] for place in self._of_every_class(samples)]
        self._count_of_indices(len(samples))
        if isinstance(self._indices, int):
            self._warn_of_classes(samples)
        return samples

    def _count_of_indices(self, total: int) -> int:
        """How many of the samples ``indices`` takes: places, or a number, from the end if < 0."""
        name, indices = type(self).__name__, self._indices
        if indices is None:
            return total
        if isinstance(indices, int):
            count = abs(indices)
            if count > total:
                raise UserError(
                    f'{name}: indices={indices} is more than the {total} samples of the split.'
                )
        else:
            count = len(indices)
            beyond = [place for place in indices if not -total <= place < total]
            if beyond:
                raise UserError(
                    f'{name}: indices names the sample {beyond[0]!r}, but the split has {total}, '
                    'counted from 0.'
                )
        if not count:
            raise UserError(f'{name}: indices={indices!r} leaves no sample.')
        return count

    def _of_every_class(self, samples: list[dict]) -> list[int]:
        """Places of the samples drawn, in order."""
        places = defaultdict(list)
        for place, sample in enumerate(samples):
            places[sample.get('gt_label')].append(place)
        drawn = []
        for label, name in enumerate(self.metainfo['classes']):
            if len(places[label]) < self.per_class:
                raise UserError(
                    f'{type(self).__name__}: per_class={self.per_class} is more than the '
                    f'{len(places[label])} samples of the class {name}.'
                )
            # A class keeps its samples whatever the others are; more are drawn after the same.
            generator = np.random.default_rng([self.per_class_seed, label])
            drawn += generator.permutation(places[label])[: self.per_class].tolist()
        return sorted(drawn)

    def _warn_of_classes(self, samples: list[dict]) -> None:
        chosen = samples[: self._indices] if self._indices > 0 else samples[self._indices :]
        found, classes = ({one.get('gt_label') for one in part} for part in (chosen, samples))
        if len(found) < len(classes):
            MMLogger.get_current_instance().warning(
                f'{type(self).__name__}: indices={self._indices} takes samples of {len(found)} of '
                f'{len(classes)} classes only; per_class=N draws N of every class'
            )
