import numpy as np
import pytest

from ovconvert.runtime.resize import linear_index, linear_pieces, nearest_index


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


def stretched(x: np.ndarray, index: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    behind = np.append(x, x[-1])
    return (1 - fraction) * behind[index] + fraction * behind[index + 1]


def test_known_linear_stretch() -> None:
    index, fraction = linear_index(2, 4)
    assert (index.tolist(), fraction.tolist()) == ([0, 0, 0, 1], [0.0, 0.25, 0.75, 0.0])
    assert (index.dtype, fraction.dtype) == (np.int64, np.float32)
    assert stretched(np.array([3.0, 5.0, 10.0]), *linear_index(3, 3)).tolist() == [3.0, 5.0, 10.0]


@pytest.mark.parametrize("lengths", [(1, 5), (30, 51), (51, 30), (749, 1291)])
def test_linear_stretch_of_a_line_is_a_line_held_at_its_ends(lengths: tuple[int, int]) -> None:
    source, target = lengths
    place = (np.arange(target) + 0.5) * source / target - 0.5
    found = stretched(np.arange(source, dtype=np.float64), *linear_index(source, target))
    assert np.abs(found - place.clip(0, source - 1)).max() < 1e-4


def test_pieces_do_not_reach_into_each_other() -> None:
    line = np.array([0.0, 1.0, 2.0, 100.0, 101.0])
    apart = stretched(line, *linear_pieces([(3, 7), (2, 5)]))
    assert apart.tolist() == [*stretched(line[:3], *linear_index(3, 7)), *stretched(line[3:], *linear_index(2, 5))]
    assert not ((apart > 2.0) & (apart < 100.0)).any()
    whole = stretched(line, *linear_index(5, 12))
    assert ((whole > 2.0) & (whole < 100.0)).any()


@pytest.mark.parametrize("lengths", [(0, 5), (5, 0)])
def test_empty_lengths_are_refused_for_lines_too(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        linear_index(*lengths)
