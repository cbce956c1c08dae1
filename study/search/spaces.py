"""Search spaces: the TOML of `search_spaces/` read, checked, and given out as configurations.
Without optuna and torch.

    schema = 1
    [constants]                       # settings that every trial has
    patience = 3
    [space.schedule]                  # a searched setting; its default belongs to trial 0
    kind = "categorical"
    choices = ["head", "progressive"]
    default = "progressive"
    [space.head_share]
    kind = "float"                    # or "int"
    low = 0.1
    high = 0.4
    log = false                       # optional
    grid = [0.1, 0.2, 0.4]            # optional: the points of a grid search; otherwise both ends
                                      # and their middle
    default = 0.3
    when = { schedule = ["progressive"] }   # optional: searched only where a categorical setting
                                            # above has one of these values
    wide = true                       # optional: searched only in a space that is opened
                                      # (`search.space`); otherwise its default is a constant

    [[portfolio]]                     # optional, any number: settings that did well elsewhere, to
    lr = 3e-3                         # try after the default; what is not named has its default

A setting that is not searched under its `when` is left out of the configuration, and the recipe's
own default holds. Whatever a space can produce must be a recipe (`study/training/recipe.py`) of the
detector's learner, with a schedule that the detector has: this is checked when a space is loaded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from itertools import product
from typing import Annotated, Any, Literal, Protocol, cast

from study.core.errors import ConfigError, located, unknown_name
from study.core.identity import digest
from study.core.records import Params
from study.core.validation import (
    MustBe,
    Plain,
    Switch,
    check_keys,
    read_toml,
    toml_names,
    validated,
)
from study.detectors import registry
from study.training.recipe import AUTO, Recipe, settings

SCHEMA = 1
SMALL, WIDE = "small", "wide"  # how much of a space is searched
Value = float | int | str | bool
Given = Value | tuple[Value, ...]  # of a setting: its value, or its choices
Kind = Literal["float", "int", "categorical"]


class Suggester(Protocol):
    """What a space asks for values; an `optuna.Trial` is one."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...  # noqa: D102
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...  # noqa: D102
    def suggest_categorical(self, name: str, choices: Sequence[Value | None]) -> Value | None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A searched setting. `low` and `high` are inclusive; `when`: setting -> the values under which
    this one is searched.

    grid: the points of a grid search where the file names them; `points` has them in any case.
    wide: searched only in a space that is opened. fixed: not searched here, it has its default.
    """

    name: str
    kind: Kind
    default: Value
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()
    grid: tuple[Value, ...] = ()
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    wide: bool = False
    fixed: bool = False

    def is_active(self, params: Params) -> bool:
        """Tell whether it is searched under the settings above; one left out meets no condition."""
        return all(name in params and params[name] in values for name, values in self.when.items())

    def suggest(self, trial: Suggester) -> Value:
        """Ask for a value."""
        if self.fixed:
            return self.default
        if self.kind == "float":
            return trial.suggest_float(self.name, self.low, self.high, log=self.log)
        if self.kind == "int":
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return cast("Value", trial.suggest_categorical(self.name, self.choices))

    def text(self) -> str:
        """Return the range to read: `0.0001 to 0.01 (log)`, `16 | 32 | 64`, and its condition."""
        if self.kind == "categorical":
            values = " | ".join(str(choice) for choice in self.choices)
        else:
            values = f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "")
        conditions = [
            f"{name} is {' or '.join(map(str, wanted))}" for name, wanted in self.when.items()
        ]
        return values + (f", when {' and '.join(conditions)}" if conditions else "")

    def ends(self) -> tuple[Value, ...]:
        """Return the extreme values: both ends of a range, or all choices."""
        if self.fixed:
            return (self.default,)
        if self.kind == "categorical":
            return self.choices
        return (self.low, self.high) if self.kind == "float" else (int(self.low), int(self.high))

    def points(self) -> tuple[Value, ...]:
        """Return the values of a grid search: those of the file; else all choices, or both ends and
        their middle, each once.
        """
        if self.fixed or self.grid or self.kind == "categorical":
            return self.ends() if self.fixed else self.grid or self.choices
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        low, high = self.ends()
        return tuple(dict.fromkeys((low, middle if self.kind == "float" else round(middle), high)))

    def holds(self, value: object) -> bool:
        """Tell whether a value is within the range, or one of the choices."""
        if self.kind == "categorical":
            return _is_among(value, self.choices)
        kinds = (int, float) if self.kind == "float" else (int,)
        return (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )


@dataclass(frozen=True)
class Space:
    """What is searched for one detector: constants, and parameters in the order of the file.

    hints: settings of configurations that did well elsewhere; see `portfolio`. given: the settings
    that a study fixes or chooses among, in place of what the file says.
    """

    detector: str
    constants: Params
    parameters: tuple[Parameter, ...]
    hints: tuple[Params, ...] = ()
    given: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Return the names of the searched settings."""
        return [parameter.name for parameter in self.parameters if not parameter.fixed]

    def opened(self, what: str | Sequence[str]) -> Space:
        """Return the space as a study opens it: `small`, the settings that pay most; `wide`, all;
        or the names of those that are searched besides the small one's.

        Names that this space does not have are passed over: another detector's may.
        """
        if what == WIDE:
            return self
        more = () if what == SMALL else what
        return dataclasses.replace(
            self,
            parameters=tuple(
                dataclasses.replace(p, fixed=p.wide and p.name not in more) for p in self.parameters
            ),
        )

    def default(self) -> Params:
        """Return the default configuration, trial 0 of every pairing."""
        return self._configuration(lambda parameter: parameter.default)

    def portfolio(self) -> list[Params]:
        """Return the configurations that did well elsewhere, for what of them this space searches:
        each once, without the default. What a hint does not name has its default.
        """
        found = [self.default()]
        for hint in self.hints:
            known = {p.name: hint.get(p.name, p.default) for p in self.parameters}
            inside = all(p.fixed or p.holds(known[p.name]) for p in self.parameters)
            made = self._configuration(
                lambda p, known=known: p.default if p.fixed else known[p.name]  # type: ignore[misc]
            )
            if inside and made not in found:
                found.append(made)
        return found[1:]

    def suggest(self, trial: Suggester) -> Params:
        """Ask for a configuration, constants included, and for settings whose condition holds."""
        return self._configuration(lambda parameter: parameter.suggest(trial))

    def grid_size(self) -> int:
        """Return how many configurations the grid has; conditional ones count where they hold."""
        return self._grid_size(dict(self.constants), 0)

    def grid_point(self, number: int) -> Params:
        """Return configuration `number` of the grid, from 0 to below its size; the last settings of
        the file change fastest.
        """
        params: dict[str, Value] = dict(self.constants)
        for place, parameter in enumerate(self.parameters):
            if not parameter.is_active(params):
                continue
            for value in parameter.points():
                below = self._grid_size({**params, parameter.name: value}, place + 1)
                if number < below:
                    params[parameter.name] = value
                    break
                number -= below
            else:
                raise IndexError(number)
        return params

    def is_on_grid(self, params: Params) -> bool:
        """Tell whether a configuration of this space is one of the grid's."""
        return all(params[p.name] in p.points() for p in self.parameters if p.name in params)

    def _grid_size(self, params: dict[str, Value], place: int) -> int:
        """The configurations that the settings from `place` on can take, given those before. Only
        conditions need one by one.
        """
        size = 1
        parents = {name for parameter in self.parameters[place:] for name in parameter.when}
        for n, parameter in enumerate(self.parameters[place:], start=place):
            if not parameter.is_active(params):
                continue
            if parameter.name in parents:
                return size * sum(
                    self._grid_size({**params, parameter.name: value}, n + 1)
                    for value in parameter.points()
                )
            size *= len(parameter.points())
        return size

    def fixed(self, values: Params) -> Space:
        """Return the space in which these settings, where it has them, are constants."""
        own = {*self.constants, *self.names()}
        return self.with_constants({name: v for name, v in values.items() if name in own})

    def with_constants(self, values: Params) -> Space:
        """Return the space in which these settings are constants."""
        left = tuple(p for p in self.parameters if p.name not in values)
        return dataclasses.replace(self, constants={**self.constants, **values}, parameters=left)

    def without(self, name: str) -> Space:
        """Return the space without a setting, which then has the recipe's default."""
        return dataclasses.replace(
            self,
            constants={key: value for key, value in self.constants.items() if key != name},
            parameters=tuple(p for p in self.parameters if p.name != name),
            hints=tuple({k: v for k, v in hint.items() if k != name} for hint in self.hints),
        )

    def with_given(self, values: Mapping[str, Given]) -> Space:
        """Return the space with what a study says of settings: a value, or the choices of one.

        Raises ConfigError where that makes no recipe of the detector.
        """
        each = {name: v if isinstance(v, tuple) else (v,) for name, v in values.items()}
        space = self.with_constants({name: v[0] for name, v in each.items() if len(v) == 1})
        if each.get("lr", (AUTO,)) != (AUTO,):  # rates of the study's own have no scale
            space = space.without("lr_scale")
        several = {name: choices for name, choices in each.items() if len(choices) != 1}
        own = {p.name: p for p in space.parameters}
        chosen = {name: _chosen(name, v, own.get(name)) for name, v in several.items()}
        new = (p for name, p in chosen.items() if name not in own)
        space = dataclasses.replace(
            space,
            constants={name: v for name, v in space.constants.items() if name not in chosen},
            parameters=(*new, *(chosen.get(p.name, p) for p in space.parameters)),
            given=tuple(values),
        )
        _check_recipes(space, registry.schedules_of(self.detector))
        return space

    def with_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> Space:
        """Return the space with these ranges in place of its own. Raises ConfigError for one that
        a setting cannot have: choices, or a range without the default.
        """
        parameters = tuple(
            _ranged(p, *ranges[p.name]) if p.name in ranges else p for p in self.parameters
        )
        return dataclasses.replace(self, parameters=parameters)

    def narrowed(self, name: str, choices: Sequence[Value]) -> Space:
        """Return the space in which a setting has these choices alone, less what needs others."""
        kept = [_narrowed(parameter, name, choices) for parameter in self.parameters]
        return dataclasses.replace(self, parameters=tuple(p for p in kept if p is not None))

    def adopt(self, params: Params) -> Params | None:
        """Return a configuration found elsewhere as one of this space, with its constants; None
        where it is not one.

        Every setting that is searched under the others must be there and within its range, and no
        other searched one.
        """
        adopted: dict[str, Value] = dict(self.constants)
        for parameter in self.parameters:
            if parameter.is_active(adopted) and parameter.fixed:
                adopted[parameter.name] = parameter.default
            elif parameter.is_active(adopted):
                if parameter.name not in params or not parameter.holds(params[parameter.name]):
                    return None
                adopted[parameter.name] = params[parameter.name]
        return adopted if all(name in adopted for name in params) else None

    def searched(self, params: Params) -> dict[str, Value]:
        """Return the part of a configuration that was searched, without the constants."""
        return {name: params[name] for name in self.names() if name in params}

    @cached_property
    def digest(self) -> str:
        """The digest of everything that decides what is proposed."""
        return digest("space", SCHEMA, self.constants, self.parameters)

    def corners(self) -> Iterator[Params]:
        """Yield configurations at the edges: the default, each end of each parameter, and all low
        or all high in every branch.
        """

        def of(values: Mapping[str, Value]) -> Params:
            return self._configuration(lambda parameter: values[parameter.name])

        defaults = {p.name: p.default for p in self.parameters}
        parents = {name for p in self.parameters for name in p.when}
        branching = [p for p in self.parameters if p.name in parents]
        yield from self.portfolio()
        for choices in product(*(p.choices for p in branching)):
            branch = {p.name: choice for p, choice in zip(branching, choices, strict=True)}
            yield of({**defaults, **branch})
            for end in (0, -1):
                yield of({p.name: p.ends()[end] for p in self.parameters} | branch)
            for parameter in self.parameters:
                for value in parameter.ends() if parameter.name not in branch else ():
                    yield of({**defaults, parameter.name: value, **branch})

    def _configuration(self, value_of: Callable[[Parameter], Value]) -> Params:
        params: dict[str, Value] = dict(self.constants)
        for parameter in self.parameters:
            if parameter.is_active(params):
                params[parameter.name] = value_of(parameter)
        return params


def _ranged(parameter: Parameter, low: float, high: float) -> Parameter:
    if parameter.kind == "categorical":
        raise ConfigError(f"{parameter.name} has choices ({parameter.text()}), and no range")
    with located(parameter.name):
        within = tuple(point for point in parameter.grid if low <= float(point) <= high)
        ranged = dataclasses.replace(parameter, low=low, high=high, grid=within)
        _check_range(ranged)
    return ranged


def _chosen(name: str, choices: tuple[Value, ...], own: Parameter | None) -> Parameter:
    """A setting with these choices. Its default stays where it is one of them, else it is the
    first; so does its condition.
    """
    default = own.default if own and _is_among(own.default, choices) else (*choices, "")[0]
    made = Parameter(name=name, kind="categorical", default=default, choices=choices)
    with located(name):
        _check_choices(made)
    return dataclasses.replace(made, when=own.when) if own else made


def _narrowed(parameter: Parameter, name: str, choices: Sequence[Value]) -> Parameter | None:
    if parameter.name == name:
        left = tuple(choice for choice in parameter.choices if choice in choices)
        return dataclasses.replace(parameter, choices=left)
    if name not in parameter.when:
        return parameter
    left = tuple(value for value in parameter.when[name] if value in choices)
    return dataclasses.replace(parameter, when={**parameter.when, name: left}) if left else None


Whole = Annotated[int, MustBe("a whole number")]
Finite = Annotated[float, MustBe("a finite number")]
_POINTS = MustBe("a list of at least one value", min_length=1)
_CHOICES = MustBe("a list of at least two different values", min_length=2)
_WHEN = MustBe('a table of settings with lists of values, as { schedule = ["full"] }')


@dataclass(frozen=True, kw_only=True)
class _SpaceFile:
    """What a file says, but for its settings: which there are follows from the detector."""

    schema: Annotated[Literal[1], MustBe(f"what this version reads: schema = {SCHEMA}")]
    constants: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    portfolio: Sequence[Mapping[str, Plain]] = ()


@dataclass(frozen=True, kw_only=True)
class _Searched:
    """What a file says of a searched setting of any kind."""

    kind: Kind
    when: Annotated[Mapping[str, Annotated[tuple[Plain, ...], _POINTS]], _WHEN] = field(
        default_factory=dict
    )
    wide: Switch = False


@dataclass(frozen=True, kw_only=True)
class _Float(_Searched):
    low: Finite
    high: Finite
    default: Finite
    log: Switch = False
    grid: Annotated[tuple[Finite, ...], _POINTS] = ()


@dataclass(frozen=True, kw_only=True)
class _Int(_Searched):
    low: Whole
    high: Whole
    default: Whole
    log: Switch = False
    grid: Annotated[tuple[Whole, ...], _POINTS] = ()


@dataclass(frozen=True, kw_only=True)
class _Categorical(_Searched):
    choices: Annotated[tuple[Plain, ...], _CHOICES]
    default: Plain


_KINDS: Mapping[Any, type[_Searched]] = {"float": _Float, "int": _Int, "categorical": _Categorical}


def space_names() -> list[str]:
    """Return the names of the detectors that have a search space of their own; a library's models
    share `<library>.toml`, large probes `probe.toml`.
    """
    shared = {*registry.LIBRARIES, *(line.space for line in registry.DETECTORS.values())}
    return [name for name in toml_names(resources.files("search_spaces")) if name not in shared]


@cache
def space_file(detector: str) -> str:
    """Return the name of the file that has a detector's space, without its ending; "" for one of
    which nothing is searched. Raises ConfigError for an unknown detector.
    """
    library = registry.library_of(detector)
    if library in registry.LIBRARIES:
        return library
    line = registry.entry(detector) if library else registry.DETECTORS.get(detector)
    if line is not None and (line.space or line.published or library):
        return line.space
    if detector not in space_names():
        raise ConfigError(unknown_name("search space", detector, space_names()))
    return detector


@cache
def load_space(detector: str, opened: str | tuple[str, ...] = SMALL) -> Space:
    """Read `search_spaces/<detector>.toml`; for a library's model (`timm:<name>`) the file that all
    of them share (`timm.toml`). opened: how much of it is searched, as in `Space.opened`.

    Of the schedules in a shared file a model has those that it can be trained by
    (`registry.schedules_of`). Of a published detector nothing is searched, and it has no file.

    Raises ConfigError for an unknown detector, and for anything in the file that is not as it must
    be: the message names the file, the key, the value, and what is valid.
    """
    file = space_file(detector)
    if not file:
        return parse_space({"schema": SCHEMA}, detector=detector, where=detector)
    where = f"search_spaces/{file}.toml"
    text = (resources.files("search_spaces") / f"{file}.toml").read_text(encoding="utf-8-sig")
    with located(where):
        table = read_toml(text)
    return parse_space(table, detector=detector, where=where).opened(opened)


def parse_space(table: Mapping[str, Any], *, detector: str, where: str) -> Space:
    """Turn a parsed TOML table into the search space of `detector`, all of it searched. `where`
    opens every message.

    Of the schedules searched, a library's model keeps those that it can be trained by. Raises
    ConfigError, also where a constant or a default is a schedule that the detector cannot be
    trained by.
    """
    with located(where):
        file = validated(_SpaceFile, table)
        known = settings(registry.entry(detector).learner)
        check_keys(file.constants, known, where="[constants]")
        check_keys(file.space, known, where="[space]")
        parameters: list[Parameter] = []
        for name, keys in file.space.items():
            if name in file.constants:
                raise ConfigError(f"'{name}' is both a constant and searched; keep one of the two")
            with located(f"[space.{name}]"):
                parameters.append(_parameter(name, keys, above=parameters))
        parameters = _of_its_blocks(parameters, registry.entry(detector).blocks)
        hints = tuple(_hint(hint, parameters) for hint in file.portfolio)
        space = Space(detector, file.constants, tuple(parameters), hints)
        schedules = registry.schedules_of(detector)
        if registry.library_of(detector) and schedules:
            space = space.narrowed("schedule", schedules)
        _check_recipes(space, schedules)
    return space


def _of_its_blocks(parameters: Sequence[Parameter], blocks: int) -> list[Parameter]:
    """Parameters, of which `layer` ranges over a detector's blocks, and is left out where it has no
    choice of one.
    """
    kept = [p for p in parameters if p.name != "layer" or blocks]
    return [dataclasses.replace(p, high=blocks - 1) if p.name == "layer" else p for p in kept]


def _hint(hint: Mapping[str, Value], parameters: Sequence[Parameter]) -> Params:
    """An entry of the portfolio, which names searched settings and values within their ranges."""
    known = {parameter.name: parameter for parameter in parameters}
    with located("[[portfolio]]"):
        check_keys(hint, known, noun="searched setting")
        for name, value in hint.items():
            if not known[name].holds(value):
                raise ConfigError(f"{name} = {value!r} is not within {known[name].text()}")
    return dict(hint)


def _check_recipes(space: Space, schedules: Sequence[str]) -> None:
    """Hold the edges of a space to what the detector can be trained with."""
    line = registry.entry(space.detector)
    for params in space.corners():
        schedule = Recipe.from_params(params, learner=line.learner).schedule
        if schedules and schedule not in schedules:
            raise ConfigError(unknown_name("schedule", schedule, schedules, where=space.detector))
        layer = params.get("layer", 0)
        if layer and not int(layer) < line.blocks:
            raise ConfigError(
                f"layer = {layer}: {space.detector} has"
                + (f" layers 0 to {line.blocks - 1}" if line.blocks else " layer 0 alone")
            )
        if line.own_head and any(params.get(name) for name in registry.HIDDEN_LAYER):
            raise ConfigError(
                f"{' and '.join(registry.HIDDEN_LAYER)} have no place here: {space.detector} has a"
                " head of its own"
            )


def _parameter(name: str, keys: Mapping[str, Any], *, above: Sequence[Parameter]) -> Parameter:
    kind = keys.get("kind")
    if kind not in tuple(_KINDS):
        raise ConfigError(unknown_name("kind", str(kind), _KINDS))
    with located(f"kind {kind}"):
        parameter = Parameter(name=name, **vars(validated(_KINDS[kind], keys)))
    if kind == "categorical":
        _check_choices(parameter)
    else:
        _check_range(parameter)
    _check_when(parameter, above=above)
    return parameter


def _check_choices(parameter: Parameter) -> None:
    choices = parameter.choices
    if len({(type(choice), choice) for choice in choices}) < max(2, len(choices)):
        raise ConfigError(f"choices = {[*choices]!r} must be {_CHOICES.text}")
    if not _is_among(parameter.default, choices):
        raise ConfigError(unknown_name("default", str(parameter.default), map(str, choices)))


def _check_range(parameter: Parameter) -> None:
    low, high, grid = parameter.low, parameter.high, parameter.grid
    if not low < high:
        raise ConfigError(f"low = {low:g} must be below high = {high:g}")
    if parameter.log and low <= 0:
        raise ConfigError(f"low = {low:g} must be above 0 where log = true")
    for key, value in [("default =", parameter.default), *(("grid:", point) for point in grid)]:
        if not parameter.holds(value):
            raise ConfigError(f"{key} {value:g} must lie between low = {low:g} and high = {high:g}")
    if len(set(grid)) < len(grid):
        raise ConfigError(f"grid = {[*grid]!r} names a value twice")


def _check_when(parameter: Parameter, *, above: Sequence[Parameter]) -> None:
    parents = {other.name: other for other in above if other.kind == "categorical"}
    for name, wanted in parameter.when.items():
        check_keys([name], parents, noun="categorical setting above this one", where="when")
        for value in wanted:
            if not _is_among(value, parents[name].choices):
                choices = map(str, parents[name].choices)
                raise ConfigError(
                    unknown_name(f"choice of {name}", str(value), choices, where="when")
                )


def _is_among(value: Any, choices: Sequence[Any]) -> bool:
    """Tell whether a value is one of the choices, type included: in TOML `true`, `1` and `1.0` are
    three values, in Python one.
    """
    return any(type(value) is type(choice) and value == choice for choice in choices)
