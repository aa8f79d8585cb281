from marquee.core.item_lists import ItemLists
from marquee.evaluation.probabilities.next_item import first_targets


def test_the_first_target_in_time_is_one_that_counts() -> None:
    in_order = ItemLists.of([[5, 3, 4], [], [0, 2], [2, 2]])
    counted = ItemLists.of([[3, 4], [], [0, 2], []])
    assert first_targets(in_order, counted).tolist() == [3, -1, 0, -1]
