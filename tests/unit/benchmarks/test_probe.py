"""Limits in time grow with a slower host and never shrink with a faster one."""

from benchmarks.probe import REFERENCE_US, probe_us, slowness


def test_probe_takes_time() -> None:
    assert probe_us(n_repetitions=20) > 1


def test_limits_grow_with_the_probe() -> None:
    assert slowness(REFERENCE_US * 1.4) == 1.4
    assert slowness(REFERENCE_US / 2) == 1
