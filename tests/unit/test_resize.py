import numpy as np
import pytest

from ovconvert.runtime.resize import nearest_index


def test_known_stretch() -> None:
    assert nearest_index(3, 5).tolist() == [0, 0, 1, 1, 2]
    assert nearest_index(5, 3).tolist() == [0, 1, 3]
    assert nearest_index(4, 4).tolist() == [0, 1, 2, 3]
    assert nearest_index(3, 5).dtype == np.int64


def test_never_leaves_the_source() -> None:
    for source in range(1, 300, 13):
        index = nearest_index(source, int(source * 1.72))
        assert index[0] == 0
        assert index[-1] <= source - 1
        assert (np.diff(index) >= 0).all()


def test_float32_scale_is_not_the_integer_formula() -> None:
    lengths = [(n, int(n * 1.72)) for n in range(1, 1500)]
    differ = [pair for pair in lengths if (nearest_index(*pair) != np.arange(pair[1]) * pair[0] // pair[1]).any()]
    assert len(differ) > len(lengths) // 50


@pytest.mark.parametrize("lengths", [(0, 5), (5, 0)])
def test_empty_lengths_are_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        nearest_index(*lengths)
