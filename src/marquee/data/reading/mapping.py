"""Turns the rows of a file into rows of a canonical table: names, types, lists; and marks what is not kept.

The user's expressions are SQL over the columns of the file. Nothing is computed here: the result is a lazy
frame, collected once by `tables`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import polars as pl

from marquee.core.reasons import Reason
from marquee.core.schema import EVENTS, Column, ColumnType, TableSchema, TimeMeaning
from marquee.data.reading.exploding import EMPTY, explode
from marquee.data.reading.expressions import header_hint, parse, require
from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.sources import Source, reading
from marquee.data.reading.validation import Limits, Rule, row_rules
from marquee.data.reading.values import as_source_type, attribute, canonical, present
from marquee.data.table_config import BLANK_ROW, EMPTY_LIST, SourceType, TableConfig
from marquee.errors import ConfigError, DataError, MissingColumnError

EXCLUDED = "__excluded"
REJECTED = "__rejected"

# Prefixes: columns of the file and of the table may share a name, and meet in one frame.
_RAW = "__raw:"
_MAPPED = "__mapped:"
_BROKEN = "__broken:"
_POSITION = pl.UInt16()


@dataclass(frozen=True)
class MappedSource:
    """One file, seen as a canonical table.

    Attributes:
        source: The file.
        frame: `ROW`; `EXCLUDED`, the position in `exclusions` of the reason for which the row is not meant
            to be one, else null; `REJECTED`, the position in `rules` of the first rule that it breaks, else
            null; then the columns of the table.
        exclusions: Reasons of exclusion.
        rules: Rules, in the order in which they are looked at.
        rule_columns: The columns of the file that each rule looks at.
        file_columns: The columns of the file that each column of the table is made of.
        keys: Key and expression of the config for each column of the table that it maps.
        mapped: The values of the table's columns before they are given its types, under names of their own.
    """

    source: Source
    frame: pl.LazyFrame
    exclusions: tuple[str, ...]
    rules: tuple[Rule, ...]
    rule_columns: tuple[tuple[str, ...], ...]
    file_columns: dict[str, tuple[str, ...]]
    keys: dict[str, str]
    mapped: pl.LazyFrame

    def raw(self, name: str) -> pl.LazyFrame:
        """Returns a column of the table as its expression gives it."""
        return self.mapped.select(pl.col(_MAPPED + name).alias(name))


@dataclass(frozen=True)
class TableMapping:
    """How the files of one table are mapped.

    Attributes:
        schema: The canonical table.
        config: What the user declares of it.
        time: What timestamps say.
        limits: What rules need to know.
        kept: Columns to keep under their own names if the file has them, beside those that are mapped.
        name: Of this declaration among several of one table; empty for the first.
    """

    schema: TableSchema
    config: TableConfig
    time: TimeMeaning = TimeMeaning.absolute
    limits: Limits = field(default_factory=Limits)
    kept: tuple[str, ...] = ()
    name: str = ""

    def apply(self, source: Source) -> MappedSource:
        """Returns a file as a canonical table.

        Raises:
            MissingColumnError: If the file lacks a column that the mapping names or the table needs.
            ConfigError: If an expression is no SQL, or a condition is neither true nor false.
            DataError: If an expression does not fit the types of the file.
        """
        if self.apart:
            source = explode(source, self.apart, self.config, self.key)
        typed, type_rules = self._read_types(source)
        exclusions = self._exclusions(source, typed)
        expressions = self._expressions(source)
        mapped = typed.select(
            ROW,
            FAULT,
            # A comparison with null is null in SQL, and excludes no row.
            _position_of_first([condition.fill_null(False) for condition in exclusions.values()]).alias(
                EXCLUDED
            ),
            *[rule.condition.alias(f"{_BROKEN}{i}") for i, rule in enumerate(type_rules)],
            *[expression.alias(_MAPPED + name) for name, expression in expressions.items()],
        )
        dtypes = self._dtypes(mapped, typed, expressions, source)
        own_rules = [
            *self._cast_rules(expressions, dtypes),
            *row_rules(self.schema, expressions.keys(), self.limits),
        ]
        rules = [
            # First: the values of such a row may be in wrong columns, and break other rules.
            Rule(Reason.unreadable_row, "", pl.col(FAULT).is_not_null()),
            # Computed above, as the mapped frame has the columns of the file no more.
            *[Rule(rule.reason, rule.column, pl.col(f"{_BROKEN}{i}")) for i, rule in enumerate(type_rules)],
            *own_rules,
        ]
        columns = [self._column(name, dtypes[_MAPPED + name], source).alias(name) for name in expressions]
        frame = mapped.with_columns(columns).select(
            ROW,
            EXCLUDED,
            _position_of_first([rule.condition for rule in rules]).alias(REJECTED),
            *expressions,
        )
        roots = {name: _roots(expression) for name, expression in expressions.items()}
        looked_at = [
            (),
            *[(rule.column,) for rule in type_rules],
            *[roots[rule.column] for rule in own_rules],
        ]
        return MappedSource(
            source, frame, tuple(exclusions), tuple(rules), tuple(looked_at), roots, self._keys(), mapped
        )

    def _dtypes(
        self, mapped: pl.LazyFrame, typed: pl.LazyFrame, expressions: Mapping[str, pl.Expr], source: Source
    ) -> pl.Schema:
        """Returns the types of the mapped columns; an expression that fits no type of the file is named."""
        try:
            return reading(mapped.collect_schema, source.path, self.schema.name)
        except DataError:
            for name, text in self.config.columns.items():
                # One at a time: the error of all does not say whose it is.
                self._schema_of(expressions[name], typed, source, f"columns.{name}: {text}")
            raise

    def _schema_of(self, expression: pl.Expr, typed: pl.LazyFrame, source: Source, key: str) -> pl.Schema:
        """Returns the type that an expression gives, by any name; raises DataError with its key."""
        try:
            return reading(
                typed.select(expression.alias(_MAPPED)).collect_schema, source.path, self.schema.name
            )
        except DataError as error:
            raise DataError(f"{self.key}.{key} fails: {error}") from error

    def _read_types(self, source: Source) -> tuple[pl.LazyFrame, list[Rule]]:
        """Returns the file with the declared types, and the rules that tell which values have another."""
        apart = self._taken_apart(source)
        types = {
            name: target
            for name, target in {**source.types, **self.config.types}.items()
            # Their lists are rows by now, and the column holds entries.
            if name not in apart or target not in (SourceType.list, SourceType.vector)
        }
        require(types, source, f"{self.key}.types")
        rules = [
            # There before and null now: the value could not be read.
            Rule(Reason.wrong_type, name, present(_RAW + name, source.columns[name]) & pl.col(name).is_null())
            for name in types
        ]
        for name, flags in self.config.flags.items():
            require(flags, source, f"{self.key}.flags.{name}")
            rules += [
                Rule(Reason.wrong_type, flag, pl.col(flag).is_not_null() & _flag(flag).is_null())
                for flag in flags
            ]
        raw = source.frame.with_columns(pl.col(name).alias(_RAW + name) for name in types)
        typed = raw.with_columns(
            as_source_type(name, source.columns[name], target).alias(name) for name, target in types.items()
        )
        return typed, rules

    def _taken_apart(self, source: Source) -> set[str]:
        """Returns the columns of the file of whose lists each entry has become a row."""
        names = {self.config.columns.get(name, name).partition(".")[0] for name in self.apart}
        return names | (self.apart.keys() & source.columns.keys())

    def _exclusions(self, source: Source, typed: pl.LazyFrame) -> dict[str, pl.Expr]:
        """Returns the condition of each reason for which a row is not meant to be one."""
        conditions: dict[str, pl.Expr] = {}
        if source.is_text:
            # Folders give a value to blank rows as well.
            read = [name for name in source.columns if name not in source.partition]
            empty = [pl.col(name).is_null() for name in [FAULT, *read]]
            conditions[BLANK_ROW] = pl.all_horizontal(empty)
        if self._taken_apart(source):
            conditions[EMPTY_LIST] = pl.col(EMPTY)
        for reason, text in self.config.exclude.items():
            condition = self._parse(text, source, f"exclude.{reason}")
            (dtype,) = self._schema_of(condition, typed, source, f"exclude.{reason}: {text}").values()
            # A number would do for a truth, and hide a comparison that was forgotten.
            if dtype != pl.Boolean:
                raise ConfigError(
                    f"{self.key}.exclude.{reason} must be true or false, got {text!r}, which is "
                    f"{dtype}; write a comparison"
                )
            conditions[reason] = condition
        return conditions

    def _expressions(self, source: Source) -> dict[str, pl.Expr]:
        """Returns each column of the table, canonical ones first, made of the columns of the file."""
        mapped = {
            name: self._parse(text, source, f"columns.{name}") for name, text in self.config.columns.items()
        }
        expressions: dict[str, pl.Expr] = {}
        for column in self.schema.columns:
            # Taken out: what is left are attributes, which come last.
            expression = mapped.pop(column.name, None)
            if expression is None:
                expression = self._unmapped(column, source)
            if expression is not None:
                expressions[column.name] = expression
        for name in self._kept_columns(source):
            expressions.setdefault(name, pl.col(name))
        expressions |= mapped
        for name, flags in self.config.flags.items():
            named = [pl.when(_flag(flag) == 1).then(pl.lit(flag)) for flag in flags]
            expressions[name] = pl.concat_list(named).list.drop_nulls()
        for name in self.config.lists.keys() - self.apart.keys():
            if name not in expressions:
                raise MissingColumnError(
                    f"{self.key}.lists names {name!r}, the table has {list(expressions)}; correct it"
                )
        return expressions

    def _kept_columns(self, source: Source) -> list[str]:
        """Returns the columns of the file that become attributes under their own names."""
        renamed = {text for text in self.config.columns.values() if text in source.columns}
        used = renamed.union(*self.config.flags.values())
        # Events have the most rows: of their other columns only those that features read are kept.
        keeps_rest = self.config.keep_rest and self.schema is not EVENTS
        return [name for name in source.columns if name in self.kept or (keeps_rest and name not in used)]

    def _unmapped(self, column: Column, source: Source) -> pl.Expr | None:
        """Returns a canonical column that the mapping does not name, None if the table goes without it."""
        if column.required and column.type is ColumnType.timestamp and self.time is TimeMeaning.none:
            # Equal times keep the order of the file, which stands in for time.
            return pl.lit(0, pl.Int64)
        if column.name in source.columns:
            return pl.col(column.name)
        if column.name == EVENTS.key:
            # Made of the place, so that the same file gives the same ids again.
            return pl.concat_str(pl.lit(source.prefix), pl.col(ROW).cast(pl.String))
        if column.default is not None:
            return pl.lit(column.default)
        if column.required:
            near = get_close_matches(column.name, [name.strip().lower() for name in source.columns], n=1)
            alike = [name for name in source.columns if name.strip().lower() in near]
            asked = f" (is it {alike[0]!r}?)" if alike else ""
            hints = [f"say which it is{asked} in {self.key}.columns.{column.name}"]
            if source.has_header:
                hints.append("set header=false and names if its first line names no columns")
                hints.append("set skip_rows if lines stand before the header")
            if column.type is ColumnType.timestamp:
                hints.append("set data.time=none if there is no time")
            raise MissingColumnError(
                f"{self.schema.name}: {source.path} has no column {column.name!r}, it has "
                f"{list(source.columns)}; {', or '.join(hints)}{header_hint(source)}"
            )
        return pl.lit(None, column.type.dtype) if column.always else None

    def _column(self, name: str, dtype: pl.DataType, source: Source) -> pl.Expr:
        """Returns a column of the table, made of its mapped value of type `dtype`."""
        column = self.schema.by_name.get(name)
        if column is not None:
            value = canonical(_MAPPED + name, dtype, column.type, self.config)
            value = _without_marks(value, _MAPPED + name, dtype, source)
            return value.fill_null(column.default) if column.fills_null else value
        if name not in self.config.lists or name in self.apart:
            return _without_marks(attribute(_MAPPED + name, dtype), _MAPPED + name, dtype, source)
        if dtype != pl.String:
            raise ConfigError(
                f"{self.key}.lists.{name} must be a text to be cut, got {dtype}; remove it from lists"
            )
        parts = pl.col(_MAPPED + name).str.split(self.config.lists[name])
        return parts.list.eval(pl.element().filter(pl.element() != ""))

    def _cast_rules(self, expressions: Iterable[str], dtypes: Mapping[str, pl.DataType]) -> list[Rule]:
        """Returns the rules that a mapped value must be of its column's type."""
        return [
            Rule(
                Reason.wrong_type,
                name,
                present(_MAPPED + name, dtypes[_MAPPED + name]) & pl.col(name).is_null(),
            )
            for name in expressions
            if name in self.schema.by_name
        ]

    def _parse(self, text: str, source: Source, key: str) -> pl.Expr:
        """Returns the expression that the text at a key means."""
        return parse(text, source, f"{self.key}.{key}")

    @property
    def apart(self) -> dict[str, str]:
        """The lists of events of which each entry is an event; one that a feature reads stays a list."""
        if self.schema is not EVENTS:
            return {}
        read = set(self.kept) - self.schema.by_name.keys()
        return {name: separator for name, separator in self.config.lists.items() if name not in read}

    def _keys(self) -> dict[str, str]:
        """Returns where the config says how each mapped column is read, and what it says."""
        return {name: f"{self.key}.columns.{name}: {text}" for name, text in self.config.columns.items()}

    @property
    def orders_only(self) -> bool:
        """Whether the times of the events are no moments."""
        return self.schema is EVENTS and self.time is not TimeMeaning.absolute

    @property
    def key(self) -> str:
        """Where the table stands in the config."""
        return (
            f"{self.schema.config_key}.{self.schema.name}"
            if not self.name
            else f"data.more_events.{self.name}"
        )


def _without_marks(value: pl.Expr, mapped: str, dtype: pl.DataType, source: Source) -> pl.Expr:
    """Returns a value, null where a text stands that the file has in place of a value."""
    if not source.marks or dtype != pl.String:
        return value
    return pl.when(~pl.col(mapped).is_in(source.marks).fill_null(False)).then(value)


def _flag(name: str) -> pl.Expr:
    """Returns a flag as 0 or 1; anything else is null."""
    # Through text, as a file may hold flags as booleans, numbers or words.
    text = pl.col(name).cast(pl.String, strict=False).str.to_lowercase()
    value = text.replace({"true": "1", "false": "0"}).cast(pl.Int64, strict=False)
    return pl.when(value.is_in([0, 1])).then(value)


def _roots(expression: pl.Expr) -> tuple[str, ...]:
    """Returns the columns of the file that an expression reads, each once."""
    return tuple(name for name in dict.fromkeys(expression.meta.root_names()) if name != ROW)


def _position_of_first(conditions: Sequence[pl.Expr]) -> pl.Expr:
    """Returns the position of the first condition that is true, null if none is."""
    found = [pl.when(condition).then(pl.lit(i, _POSITION)) for i, condition in enumerate(conditions)]
    return pl.coalesce(found) if found else pl.lit(None, _POSITION)
