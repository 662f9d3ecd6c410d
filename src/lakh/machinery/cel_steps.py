"""The steps of compiled expressions: closures of a frame (`cel_program` says what that is, and puts them together).

Each counts what it costs itself. A step raises EvaluationError, or another ValueError, when it has no result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lakh.machinery.cel_metering import CostLimitExceeded, Price
from lakh.machinery.cel_standard import find, missing
from lakh.machinery.cel_values import LISTS, MAPS, NONE, EvaluationError, NoSuchOverload, Optional

Frame = list[Any]
Step = Callable[[Frame], Any]

UNSET: Any = object()
"""No value, where null is one."""
WRONG_TYPES = (TypeError, AttributeError, LookupError, ArithmeticError)
"""What functions raise when they are given what they do not take."""


@dataclass(slots=True)
class Qualifier:
    """A field, an index or a key. `key` is it, or the step that says it."""

    key: Any
    is_constant: bool
    is_object: bool
    optional: bool = False
    test_only: bool = False
    other: str | None = None
    """The property that `key` means if what has it turns out to be an object."""


@dataclass(slots=True)
class Path:
    """A variable, or a result, and what is taken of it. `own` is what the path itself costs where it is evaluated."""

    root: Step
    slot: int = 0
    own: int = 1
    qualifiers: list[Qualifier] = field(default_factory=list)


def lazily(slot: int, first: Step) -> Step:
    """A variable that is evaluated when it is first asked for."""

    def get(frame: Frame) -> Any:
        value = frame[slot]
        if value is UNSET:
            try:
                value = first(frame)
            except ValueError as e:
                value = e
            frame[slot] = value
        if isinstance(value, ValueError):
            raise value
        return value

    return get


def fallibly(slot: int) -> Step:
    """A variable that can be an error."""

    def get(frame: Frame) -> Any:
        value = frame[slot]
        if isinstance(value, ValueError):
            raise value
        return value

    return get


def bound(slot: int, result: Step) -> Step:
    """What `cel.bind` and `optMap` give."""

    def step(frame: Frame) -> Any:
        frame[slot] = UNSET
        return result(frame)

    return step


def path_step(path: Path, own: int) -> Step:
    """A path, evaluated. One or two fields of a variable, which are there, are the short way."""
    root, qualifiers = path.root, tuple(path.qualifiers)
    if path.slot and all(
        q.is_constant and not q.optional and not q.test_only and q.other is None and type(q.key) is str
        for q in qualifiers
    ):
        slot, cost, by_key = path.slot, own + len(qualifiers), _walk(root, qualifiers, own)
        if not qualifiers:

            def variable(frame: Frame) -> Any:
                frame[0] += own
                return frame[slot]

            # An optional is taken apart and put together again, which is the same.
            return variable
        if len(qualifiers) == 1:
            key = qualifiers[0].key

            def one(frame: Frame) -> Any:
                of = frame[slot]
                if type(of) is dict:
                    value = of.get(key)
                    if value is not None:
                        frame[0] += cost
                        return value
                return by_key(frame)

            return one
        keys = tuple(q.key for q in qualifiers)

        def several(frame: Frame) -> Any:
            value = frame[slot]
            for key in keys:
                if type(value) is not dict:
                    return by_key(frame)
                value = value.get(key)
            if value is None:
                return by_key(frame)
            frame[0] += cost
            return value

        return several
    if not qualifiers:
        if not own:
            return root

        def plain(frame: Frame) -> Any:
            frame[0] += own
            return root(frame)

        return plain
    return _walk(root, qualifiers, own)


def _walk(root: Step, qualifiers: tuple[Qualifier, ...], own: int) -> Step:
    """A path, one qualifier after the other (cel-go's applyQualifiers). What is optional stays so to the end."""

    def step(frame: Frame) -> Any:
        value = root(frame)
        frame[0] += own
        optional = type(value) is Optional
        if optional:
            if not value.some:
                return _tested(qualifiers, value)
            value = value.value
        for at in qualifiers:
            key = at.key if at.is_constant else at.key(frame)
            optional = optional or at.optional
            try:
                found, there = find(value, key, is_object=at.is_object)
                if not there and at.other is not None:
                    found, there = find(value, at.other)
            except EvaluationError:
                if optional or at.test_only:
                    found, there = None, False
                else:
                    frame[0] += 1
                    raise
            if at.test_only:
                frame[0] += 1
                return there
            if there:
                frame[0] += 1
            elif optional:
                return NONE if not qualifiers[-1].test_only else False
            else:
                frame[0] += 1
                raise missing(value, key)
            value = found
        return Optional(True, value) if optional else value

    return step


def _tested(qualifiers: tuple[Qualifier, ...], value: Any) -> Any:
    return False if qualifiers and qualifiers[-1].test_only else value


def either(a: Step, b: Step, until: bool) -> Step:
    """`a || b` and `a && b`: the one that settles it does so, whatever the other is."""

    def step(frame: Frame) -> Any:
        error: ValueError | None = None
        try:
            first = a(frame)
            if first is until:
                return until
            if first is not (not until):
                error = NoSuchOverload()
        except ValueError as e:
            error = e
        second = b(frame) if error is None else _rescue(b, frame, error, until)
        if second is until:
            return until
        if error is not None:
            raise error
        if second is not (not until):
            raise NoSuchOverload
        return not until

    return step


def _rescue(b: Step, frame: Frame, error: ValueError, until: bool) -> Any:
    try:
        return b(frame)
    except ValueError:
        raise error from None


def not_strictly_false(of: Step) -> Step:
    """The condition of `all` and `exists`: an error does not end them."""

    def step(frame: Frame) -> bool:
        try:
            value = of(frame)
        except ValueError:
            value = True
        frame[0] += 1
        return value is not False

    return step


def or_optional(a: Step, b: Step) -> Step:
    """`a.or(b)`, of optionals."""

    def step(frame: Frame) -> Any:
        value = a(frame)
        if type(value) is not Optional:
            raise NoSuchOverload
        return value if value.some else b(frame)

    return step


def or_value(a: Step, b: Step) -> Step:
    """`a.orValue(b)`"""

    def step(frame: Frame) -> Any:
        value = a(frame)
        if type(value) is not Optional:
            raise NoSuchOverload
        return value.value if value.some else b(frame)

    return step


def calling(function: Callable[..., Any], steps: Sequence[Step], cost: Price) -> Step:
    """A call, with its price. One with an error for an argument has no result but is paid for, if it has one or two."""
    if not isinstance(cost, int):
        return _priced(function, steps, cost)
    if len(steps) == 2:
        a, b = steps

        def two(frame: Frame) -> Any:
            try:
                x = a(frame)
            except ValueError as error:
                _also(b, frame, error)
                frame[0] += cost
                raise
            try:
                y = b(frame)
            finally:
                frame[0] += cost
            try:
                return function(x, y)
            except WRONG_TYPES:
                raise NoSuchOverload from None

        return two

    def several(frame: Frame) -> Any:
        args = _arguments(steps, frame, cost)
        frame[0] += cost
        try:
            return function(*args)
        except WRONG_TYPES:
            raise NoSuchOverload from None

    return several


def _also(step: Step, frame: Frame, error: ValueError) -> Any:
    """Another argument of a call that has no result already."""
    try:
        return step(frame)
    except ValueError:
        return error


def _arguments(steps: Sequence[Step], frame: Frame, cost: Price) -> list[Any]:
    args: list[Any] = []
    for step in steps:
        try:
            args.append(step(frame))
        except ValueError as error:
            if len(steps) <= 2:
                # cel-go looks at the second argument, too. What is no value has a size of one.
                args += [error, *(_also(s, frame, error) for s in steps[len(args) + 1 :])]
                try:
                    frame[0] += cost if isinstance(cost, int) else cost(args, error)
                except WRONG_TYPES:
                    frame[0] += 1
            raise
    return args


def _priced(function: Callable[..., Any], steps: Sequence[Step], cost: Callable[..., int]) -> Step:
    def paid(frame: Frame) -> Any:
        args = _arguments(steps, frame, cost)
        try:
            result = function(*args)
        except WRONG_TYPES:
            frame[0] += cost(args, None)
            raise NoSuchOverload from None
        except ValueError:
            frame[0] += cost(args, None)
            raise
        frame[0] += cost(args, result)
        return result

    return paid


def extend(slot: int, more: Step) -> Step:
    """`@result + [x]` of a macro: the list is nobody else's, and grows in place."""

    def step(frame: Frame) -> Any:
        items = more(frame)
        frame[0] += 2
        accu = frame[slot]
        if type(items) not in LISTS:
            raise NoSuchOverload
        accu.extend(items)
        return accu

    return step


def distinct(pairs: Any) -> dict[Any, Any]:
    """A map; raises EvaluationError when it has a key twice."""
    made: dict[Any, Any] = {}
    for key, value in pairs:
        if key in made:
            raise EvaluationError(f"Failed with repeated key {key}")
        made[key] = value
    return made


def _iterated(value: Any) -> Any:
    kind = type(value)
    if kind in LISTS or kind in MAPS:
        return value
    raise NoSuchOverload


def quantified(items: Step, slot: int, var: int, test: Step, until: bool, result: Step, limit: int) -> Step:
    """`exists` (until true) and `all` (until false). Each round costs its condition and the name of the result."""
    guard = 3 if until else 2

    def step(frame: Frame) -> Any:
        rounds = iter(_iterated(items(frame)))
        error: ValueError | None = None
        outcome: Any = not until
        for frame[var] in rounds:
            frame[0] += guard + 1
            if frame[0] > limit:
                raise CostLimitExceeded
            try:
                value = test(frame)
            except ValueError as e:
                error = error or e
                continue
            if value is until:
                outcome, error = until, None
                if next(rounds, UNSET) is not UNSET:
                    frame[0] += guard
                break
            if value is not (not until) and error is None:
                error = NoSuchOverload()
        frame[slot] = error if error is not None else outcome
        return result(frame)

    return step


def repeat(
    items: Step,
    start: Step,
    slot: int,
    variables: tuple[int, int],
    condition: Step | None,
    step: Step,
    result: Step,
    limit: int,
) -> Step:
    """Any other macro."""
    var, var2 = variables
    fallible = condition is not None

    def once(frame: Frame) -> bool:
        """A round; False when it is the last."""
        if condition is not None and condition(frame) is False:
            return False
        try:
            frame[slot] = step(frame)
        except ValueError as e:
            if not fallible:
                raise
            frame[slot] = e
        if frame[0] > limit:
            raise CostLimitExceeded
        return True

    def run(frame: Frame) -> Any:
        over, first = _iterated(items(frame)), start(frame)
        # What a macro makes is its own, and grows in place.
        frame[slot] = list(first) if type(first) in LISTS else dict(first) if type(first) is dict else first
        if not var2:
            for frame[var] in over:
                if not once(frame):
                    break
        else:
            for frame[var], frame[var2] in over.items() if type(over) in MAPS else enumerate(over):
                if not once(frame):
                    break
        return result(frame)

    return run
