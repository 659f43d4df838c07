"""The JSONPath of batch transform's filters: members, indices and slices, as AWS's developer guide lists them.

jsonpath-ng parses; the evaluation is ours, since a filter keeps the shape of what it selects (`$['id','x']` is an object
with two members, `$[0,-1]` a list of two) where JSONPath proper gives a flat list of values. What AWS does not list, and
the wildcard, is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Select = Callable[[Any], Any]


def compiled(expression: str) -> Select | None:
    """The filter as a function, None for `$`, which keeps everything.

    The function raises LookupError or TypeError where a value has nothing at the path. Raises ValueError for what is no
    path, or not one of this subset.
    """
    import jsonpath_ng

    try:
        root = jsonpath_ng.parse(expression)
    except Exception as error:
        raise ValueError(f"{expression!r} is not a JSONPath ({error}); write e.g. $[1:] or $.features.") from error
    if isinstance(root, jsonpath_ng.Root):
        return None
    return _step(root, expression)


def _step(node: Any, expression: str) -> Select:
    import jsonpath_ng

    if isinstance(node, jsonpath_ng.Root):
        return lambda value: value
    if isinstance(node, jsonpath_ng.Child):
        left, right = _step(node.left, expression), _step(node.right, expression)
        return lambda value: right(left(value))
    if isinstance(node, jsonpath_ng.Fields) and "*" not in node.fields:
        names = node.fields
        return lambda value: _members(value, names)
    if isinstance(node, jsonpath_ng.Index):
        indices = node.indices
        return lambda value: value[indices[0]] if len(indices) == 1 else [value[index] for index in indices]
    if isinstance(node, jsonpath_ng.Slice) and node.step is None:
        return lambda value: value[node.start : node.end]
    raise ValueError(
        f"{expression!r} uses {type(node).__name__.lower()}, which the filters do not execute; "
        "use $, .name, ['a','b'], [0,-1] and [1:]."
    )


def _members(value: Any, names: tuple[str, ...]) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} has no members")
    return value[names[0]] if len(names) == 1 else {name: value[name] for name in names}
