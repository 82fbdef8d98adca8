"""The tree's counts and drafts are those of counting the kept answers by hand, also after answers have left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_llm.smartspec.drafters.suffix_tree import START, AnswerTree

answers = st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=12)


def runs(kept, depth):
    counts = {}
    for answer in kept:
        path = (START, *answer)
        for start in range(len(path)):
            for end in range(start + 1, min(start + depth, len(path)) + 1):
                counts[path[start:end]] = counts.get(path[start:end], 0) + 1
    return counts


def draft_by_counting(kept, tree, answer, k):
    counts = runs(kept, tree.max_depth)

    def best_after(context):
        followers = [(-count, run) for run, count in counts.items() if run[:-1] == context]
        return min(followers)[1] if followers else None

    path = (START, *answer)
    for size in range(min(len(path), tree.max_context), 0, -1):
        context = path[len(path) - size :]
        if best_after(context):
            break
    else:
        return [], []
    found = [context]
    while len(found) <= k and (run := best_after(found[-1])):
        if counts[run] < tree.min_probability * counts[context]:
            break
        found.append(run)
    return ([run[-1] for run in found[1:]], [counts[run] for run in found]) if found[1:] else ([], [])


def counted(tree):
    """Counts of all runs in the tree, and how many of them have a node."""
    found, nodes, stack = {}, 0, [((token,), node) for token, node in tree._roots.items()]
    while stack:
        run, node = stack.pop()
        found[run] = node.count
        nodes += 1
        if node.path is not None:
            assert node.best is None
            for token in node.path[node.place : node.place + tree.max_depth - len(run)]:
                run = (*run, token)
                found[run] = 1
            continue
        children = [*([node.best] if node.best else []), *(node.others or {}).values()]
        stack += [((*run, child.token), child) for child in children]
    return found, nodes


@given(answers, st.integers(2, 6), st.integers(1, 4), st.integers(4, 60))
def test_counts_are_exact_also_after_answers_left(added, depth, most_answers, most_nodes):
    tree = AnswerTree(depth, 1, most_answers, most_nodes)
    for number, answer in enumerate(added, 1):
        tree.add(answer)
        assert kept(tree) == [tuple(each) for each in added[number - len(tree) : number]]
        assert tree.nodes <= most_nodes
        assert len(tree) <= most_answers
        assert counted(tree) == (runs(kept(tree), depth), tree.nodes)


def kept(tree):
    return [path[1:] for path in tree._answers]


@given(
    answers, st.lists(st.integers(0, 3), max_size=6), st.integers(1, 3), st.integers(1, 4), st.integers(0, 6)
)
def test_drafts_are_those_of_counting(added, answer, context, more, k):
    tree = AnswerTree(context + more, context, max_answers=5, min_probability=0.3)
    for each in added:
        tree.add(each)
    assert kept(tree) == [tuple(each) for each in added[-5:]]
    assert tree.draft(answer, k) == draft_by_counting(added[-5:], tree, answer, k)


def test_labels_are_drafted_from_the_first_token():
    tree = AnswerTree()
    for answer in ([7, 8, 0], [7, 8, 0], [5, 0], [7, 9, 0]):
        tree.add(answer)
    assert tree.draft([], 4) == ([7, 8, 0], [4, 3, 2, 2])
    assert tree.draft([5], 4) == ([0], [1, 1])


def test_a_skeleton_is_found_behind_a_value_never_seen():
    tree = AnswerTree()
    for value in (31, 32):
        tree.add([1, 2, value, 3, 4, 5, value + 10, 6])
    assert tree.draft([1, 2, 99, 3], 8) == ([4, 5, 41, 6], [2, 2, 2, 1, 1])


def test_an_emptied_tree_holds_nothing():
    tree = AnswerTree(max_nodes=4)
    tree.add([1, 2, 3, 4])
    assert (len(tree), tree.nodes, tree._roots) == (0, 0, {})
    assert tree.draft([], 4) == ([], [])


def test_long_answers_are_cut():
    tree = AnswerTree(max_answer_tokens=2)
    tree.add([1, 2, 3])
    assert tree.draft([1, 2], 1) == ([], [])


@pytest.mark.parametrize(("depth", "context"), [(3, 3), (3, 0)])
def test_contexts_that_leave_no_room(depth, context):
    with pytest.raises(ValueError, match="1 <= max_context < max_depth"):
        AnswerTree(depth, context)
