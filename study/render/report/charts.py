"""The charts of the report, as Vega-Lite has them: each is a mapping with its data in it.

Colours are Okabe and Ito's, which the colour-blind tell apart; lines and letters take the colour of
the page's text, so that charts follow its light and dark forms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from study.analysis.comparisons import Comparisons
from study.analysis.deliveries import EVERY, SAME, Flips, RankStability
from study.analysis.exposure import LaterRow
from study.analysis.headline import CHANCE, Baseline, Standing
from study.analysis.results import Domain
from study.analysis.robustness import Robustness, mean_drop
from study.analysis.search_curves import EpochPoint, TrialPoint
from study.analysis.tuning import VAL, Contrast
from study.planning.variants import DEFAULT
from study.render.colours import OKABE_ITO, YELLOW
from study.render.numbers import json_number, with_interval

Chart = dict[str, Any]
# a dark and a bright one, which grey tells apart as well
REAL_FAKE = {"domain": ["real", "fake"], "range": [OKABE_ITO[0], OKABE_ITO[1]]}
DOMAINS: Mapping[Domain, str] = {
    "in": "in-domain",
    "cross": "cross-domain",
    "neither": "neither",
    "unknown": "unknown",
}
PANEL = {"width": 230, "height": 170}
SMALL = {"width": 190, "height": 150}
FIT = {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
TOP: Chart = {"title": None, "legend": {"orient": "top"}}
KINDS = ("detector", "run elsewhere", "control")
SHOWN = "currentColor"
CONFIG: Chart = {
    "background": None,
    "mark": {"aria": False},  # a chart is one picture with a name; its numbers stand in tables
    "font": "system-ui, sans-serif",
    "range": {"category": [*OKABE_ITO, YELLOW]},
    "view": {"stroke": SHOWN, "strokeOpacity": 0.2},
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor"), SHOWN),
        "gridColor": SHOWN,
        "gridOpacity": 0.12,
        "labelLimit": 220,
        "titleFontWeight": "normal",
    },
    "legend": {
        **dict.fromkeys(("labelColor", "titleColor"), SHOWN),
        **dict.fromkeys(("symbolBaseFillColor", "symbolBaseStrokeColor"), SHOWN),
        "labelLimit": 260,
    },
    "header": {"labelColor": SHOWN, "titleColor": SHOWN, "labelFontWeight": "bold"},
    "title": {"color": SHOWN},
    **{mark: {"color": SHOWN} for mark in ("text", "rule")},
}
_PROBITS = {0.001: "0.1", 0.01: "1", 0.05: "5", 0.2: "20", 0.5: "50", 0.8: "80", 0.95: "95"}


def _x(field: str, title: str, **more: Any) -> Chart:
    return {"field": field, "type": "quantitative", "title": title, **more}


def _names(field: str, order: Iterable[str] | None = None, **more: Any) -> Chart:
    sort = None if order is None else list(dict.fromkeys(order))
    return {"field": field, "type": "nominal", "sort": sort, **more}


def _told(field: str, values: Iterable[str]) -> Chart:
    """What is told by colour, and where `shape` has it too, by one legend with the colour: the
    library joins those of equal domains.
    """
    return _names(field, scale={"domain": list(dict.fromkeys(values))})


def _layered(data: Sequence[Chart], layers: Sequence[Chart], **more: Any) -> Chart:
    return {"data": {"values": list(data)}, "layer": _with_numbers(layers, data), **more}


def _with_numbers(layers: Sequence[Chart], data: Sequence[Chart]) -> list[Chart]:
    """The layers that have anything to draw: the library complains of a scale without numbers."""
    held = {name for row in data for name, value in row.items() if value is not None}

    def fields(layer: Chart) -> set[str]:
        axes = (layer["encoding"].get(name) or {} for name in ("x", "y"))
        return {axis["field"] for axis in axes if "field" in axis}

    return [layer for layer in layers if fields(layer) <= held]


def forest(found: Comparisons) -> Chart | None:
    """Return every detector's cross-domain mean with its interval, what permuted labels give, the
    control rows, and chance; None where there is no such mean.
    """
    standings = found.headline.standings
    if not standings:
        return None
    rows = [*_standing_rows(standings, found.headline.references)]
    names = [row["name"] for row in rows]
    y = _names("name", names, title=None)
    domain = {"scale": {"zero": False, "nice": True}, "axis": {"tickCount": 8}}
    title = "mean AUC over the cross-domain cells, [95 % interval]"
    kinds = _names("kind", KINDS, **TOP)
    tip = [{"field": name} for name in ("name", "kind", "text")]
    return _layered(
        rows,
        [
            {
                "mark": {"type": "bar", "height": 14, "color": "#999999", "opacity": 0.45},
                "encoding": {"x": _x("band_low", title, **domain), "x2": {"field": "band_high"}},
            },
            {
                "mark": {"type": "rule", "strokeDash": [4, 3]},
                "encoding": {"x": {"datum": CHANCE}, "y": None},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": _x("low", title), "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
                "encoding": {
                    "x": _x("value", title, **domain),
                    "color": kinds,
                    "shape": {**kinds, "legend": None},
                    "tooltip": tip,
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"x": {"value": "width"}, "text": {"field": "text"}},
            },
        ],
        encoding={"y": y},
        **FIT,
        height=26 * len(names),
        padding={"right": 150, "left": 5, "top": 5, "bottom": 5},
    )


def _standing_rows(
    standings: Sequence[Standing], references: Sequence[Baseline]
) -> Iterator[Chart]:
    for one in standings:
        yield {
            "name": one.detector,
            "kind": KINDS[1] if one.is_given else KINDS[0],
            **_interval(one.mean.value, one.mean.low, one.mean.high),
            "band_low": json_number(one.chance.low) if one.chance.models else None,
            "band_high": json_number(one.chance.high) if one.chance.models else None,
        }
    for control in (*standings[0].baselines, *references):
        if control.has_number:
            ends = _interval(control.value, control.low, control.high)
            yield {"name": control.name, "kind": KINDS[2], **ends}


def _interval(value: float, low: float, high: float) -> Chart:
    ends = {"value": json_number(value), "low": json_number(low), "high": json_number(high)}
    return {**ends, "text": with_interval(value, low, high)}


def robustness_chart(found: Sequence[Robustness]) -> Chart | None:
    """Return what every degradation changes, mean over the cells of a kind; None where nothing was
    degraded.
    """
    groups: dict[tuple[str, str, Domain], list[Robustness]] = {}
    for one in found:
        if not math.isnan(one.auc):
            groups.setdefault((one.detector, one.degradation, one.domain), []).append(one)
    rows = []
    for (detector, degradation, domain), mine in groups.items():
        drop = mean_drop(mine)
        named = {"detector": detector, "degradation": degradation, "domain": DOMAINS[domain]}
        auc = f"{fmean(one.auc for one in mine):.3f}"
        rows.append({**named, "auc": auc, **_interval(drop.value, drop.low, drop.high)})
    if not rows:
        return None
    y = _names("degradation", (row["degradation"] for row in rows), title=None)
    colour = _told("detector", (row["detector"] for row in rows))
    shift = {"y": y, "yOffset": colour, "color": colour}
    title, axis = "change of the AUC", {"axis": {"tickCount": 4, "grid": True}}
    tips = ("detector", "degradation", "domain", "auc", "text")
    layers: list[Chart] = [
        {"mark": "rule", "encoding": {"x": {"datum": 0}}},
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {**shift, "x": _x("low", title, **axis), "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
            "encoding": {
                **shift,
                "shape": colour,
                "x": _x("value", title, **axis),
                "tooltip": [{"field": name} for name in tips],
            },
        },
    ]
    inner = {
        "layer": _with_numbers(layers, rows),
        "width": 260,
        "height": {"step": 12 + 8 * len({row["detector"] for row in rows})},
    }
    facet = _names("domain", (row["domain"] for row in rows), title=None)
    return {"data": {"values": rows}, "facet": facet, "columns": 2, "spec": inner}


def delivery_chart(found: Sequence[RankStability]) -> Chart | None:
    """Return every detector's mean AUC over the cross-domain cells under its own geometry and each
    delivery, a line a detector; None where there is no delivery.
    """
    own = "own geometry"
    first = [(own, found[0].own)] if found else []
    rows: list[Chart] = [
        {"detector": name, "delivery": delivery, "auc": json_number(auc), "rank": at}
        for delivery, aucs in [*first, *((one.delivery, one.delivered) for one in found)]
        for at, (name, auc) in enumerate(sorted(aucs.items(), key=lambda one: -one[1]), start=1)
    ]
    if not rows:
        return None
    shared = {
        "x": _names("delivery", (row["delivery"] for row in rows), title=None),
        "y": _x("auc", "mean AUC", scale={"zero": False}),
        "color": _told("detector", (row["detector"] for row in rows)),
    }
    tips = ("detector", "delivery", "auc", "rank")
    layers: list[Chart] = [
        {"mark": {"type": "rule", "strokeDash": [4, 3]}, "encoding": {"y": {"datum": CHANCE}}},
        {"mark": {"type": "line", "strokeWidth": 1}, "encoding": shared},
        {
            "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
            "encoding": {
                **shared,
                "shape": shared["color"],
                "tooltip": [{"field": name} for name in tips],
            },
        },
    ]
    return _layered(rows, layers, **FIT, height=260)


def flips_chart(found: Sequence[Flips]) -> Chart | None:
    """Return the share of verdicts that flip under each delivery, over all test sets, a panel a
    detector; None where there is no delivery.
    """
    rows: list[Chart] = [
        {
            "detector": one.detector,
            "train on": one.train_on,
            "delivery": one.delivery,
            **_interval(one.share, one.low, one.high),
        }
        for one in found
        if one.test_on == EVERY and not one.reason and not one.note.startswith(SAME)
    ]
    if not rows:
        return None
    y = _names("delivery", (row["delivery"] for row in rows), title=None)
    colour = _told("train on", (row["train on"] for row in rows))
    shift = {"y": y, "yOffset": colour, "color": colour}
    title = "share of verdicts that flip"
    tips = ("detector", "train on", "delivery", "text")
    layers: list[Chart] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {**shift, "x": _x("low", title), "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
            "encoding": {
                **shift,
                "shape": colour,
                "x": _x("value", title),
                "tooltip": [{"field": name} for name in tips],
            },
        },
    ]
    return _panels(rows, layers)


def later_chart(found: Sequence[LaterRow]) -> Chart | None:
    """Return the AUC on generators that are younger than the training set, by the months between;
    None where there is none.
    """
    rows: list[Chart] = [
        {
            "detector": one.detector,
            "train on": f"{one.train_on} (until {one.trained_until})",
            "generator": one.method,
            "test on": one.test_on,
            "released": one.released,
            "months": one.months,
            **_interval(one.auc.value, one.auc.low, one.auc.high),
        }
        for one in found
    ]
    if not rows:
        return None
    shared = {
        "x": _x("months", "months after the training set", scale={"zero": True, "nice": True}),
        "color": _told("train on", (row["train on"] for row in rows)),
    }
    y, zero = "AUC", {"scale": {"zero": False}}
    tips = ("detector", "train on", "generator", "test on", "released", "months", "text")
    layers: list[Chart] = [
        {
            "mark": {"type": "rule", "strokeDash": [4, 3]},
            "encoding": {"y": {"datum": CHANCE}},
        },
        {
            "mark": {"type": "line", "strokeWidth": 1},
            "encoding": {**shared, "y": _x("value", y, **zero)},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {**shared, "y": _x("low", y, **zero), "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
            "encoding": {
                **shared,
                "y": _x("value", y, **zero),
                "shape": shared["color"],
                "tooltip": [{"field": name} for name in tips],
            },
        },
    ]
    return _panels(rows, layers)


def tuning_chart(found: Sequence[Contrast]) -> Chart | None:
    """Return tuned minus default, a point for every test set; None where the study does not train
    the default.
    """
    rows: list[Chart] = [
        {
            "pairing": one.pairing.name,
            "test set": one.test_on,
            "domain": DOMAINS[one.domain],
            "verdict": one.verdict.value,
            **_interval(one.finding.value, one.finding.low, one.finding.high),
        }
        for one in found
        if one.source == DEFAULT and one.test_on != VAL and not one.reason
    ]
    if not rows:
        return None
    y = _names("pairing", (row["pairing"] for row in rows), title=None)
    title = "AUC, tuned minus default"
    tips = ("pairing", "test set", "domain", "text", "verdict")
    tests = _names("test set", (row["test set"] for row in rows))
    domains = _told("domain", (row["domain"] for row in rows))
    shift = {"y": y, "yOffset": tests, "color": domains}
    layers: list[Chart] = [
        {"mark": "rule", "encoding": {"x": {"datum": 0}}},
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": {**shift, "x": _x("low", title), "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
            "encoding": {
                **shift,
                "shape": shift["color"],
                "x": _x("value", title),
                "tooltip": [{"field": name} for name in tips],
            },
        },
    ]
    step = 10 + 7 * len({row["test set"] for row in rows})
    return _layered(rows, layers, **FIT, height=step * len({row["pairing"] for row in rows}))


def search_chart(found: Sequence[TrialPoint]) -> Chart | None:
    """Return the best source-val AUC so far after every trial, and every trial; None where nothing
    was searched.
    """
    rows: list[Chart] = [
        {
            "detector": one.detector,
            "train on": one.train_on,
            "trial": one.number,
            "val AUC": json_number(one.val_auc),
            "best so far": one.best,
            "origin": one.origin,
            "state": one.state,
        }
        for one in found
    ]
    if not rows:
        return None
    colour = _told("train on", (row["train on"] for row in rows))
    x, zero = _x("trial", "trial", axis=_whole(one.number for one in found)), {"zero": False}
    y = "AUC on source val"
    tips = ("detector", "train on", "trial", "val AUC", "origin", "state")
    layers: list[Chart] = [
        {
            "mark": {"type": "line", "interpolate": "step-after"},
            "encoding": {"x": x, "y": _x("best so far", y, scale=zero), "color": colour},
        },
        {
            "mark": {"type": "point", "size": 30},
            "encoding": {
                "x": x,
                "y": _x("val AUC", y, scale=zero),
                "color": colour,
                "shape": colour,
                "tooltip": [{"field": name} for name in tips],
            },
        },
    ]
    return _panels(rows, layers)


def learning_chart(found: Sequence[EpochPoint]) -> Chart | None:
    """Return source-val AUC epoch by epoch, of the selected trials and, paler, of the
    defaults; None where no training had several epochs. A training set has a colour and a dash, a
    phase of a schedule has a shape.
    """
    rows: list[Chart] = [
        {
            "detector": one.detector,
            "train on": one.train_on,
            "trial": one.which,
            "epoch": one.epoch + 1,
            "phase": one.phase or "all",
            "val AUC": json_number(one.val_auc),
            "train loss": json_number(one.train_loss),
        }
        for one in found
    ]
    if not rows:
        return None
    colour = _told("train on", (row["train on"] for row in rows))
    shared = {
        "x": _x("epoch", "epoch", axis=_whole(one.epoch + 1 for one in found)),
        "y": _x("val AUC", "AUC on source val", scale={"zero": False}),
        "color": colour,
        # ordinal: the library warns of opacity for names without an order
        "opacity": _names("trial", scale={"domain": ["selected", "default"], "range": [1, 0.4]})
        | {"type": "ordinal"},
    }
    tips = ("detector", "train on", "trial", "epoch", "phase", "val AUC", "train loss")
    layers: list[Chart] = [
        {"mark": "line", "encoding": {**shared, "strokeDash": colour}},
        {
            "mark": {"type": "point", "filled": True, "size": 45},
            "encoding": {
                **shared,
                "shape": _names("phase", (row["phase"] for row in rows)),
                "tooltip": [{"field": name} for name in tips],
            },
        },
    ]
    return _panels(rows, layers)


def _whole(numbers: Iterable[int]) -> Chart:
    """An axis with marks at whole numbers, at most eight of them."""
    low, high = min(several := [*numbers]), max(several)
    return {"values": [*range(low, high + 1, math.ceil((high - low + 1) / 8))], "format": "d"}


def _panels(rows: Sequence[Chart], layers: Sequence[Chart]) -> Chart:
    """A panel for each detector."""
    facet = _names("detector", (row["detector"] for row in rows), title=None)
    inner = {"layer": _with_numbers(layers, rows), **PANEL}
    return {"data": {"values": list(rows)}, "facet": facet, "columns": 3, "spec": inner}


def cell_charts() -> dict[str, Chart]:
    """Return the charts of one cell, by name, without data: the page gives them that of the cell
    that is opened.
    """
    return {
        "ROC": _roc(),
        "DET": _det(),
        "Scores": {
            **SMALL,
            "mark": {"type": "bar", "opacity": 0.55, "binSpacing": 0},
            "encoding": {
                "x": _x("from", "logit", bin={"binned": True}),
                "x2": {"field": "to"},
                "y": _x("share", "share of the class", stack=None),
                "color": _CLASSES,
            },
        },
        "Reliability": _reliability(),
        "Tippett": {
            **SMALL,
            "mark": {"type": "line", "interpolate": "step-after"},
            "encoding": {
                "x": _x("at", "log10 LR, at least"),
                "y": _x("share", "share of the class", **_SHARE),
                "color": _CLASSES,
                "strokeDash": {**_CLASSES, "scale": {"domain": REAL_FAKE["domain"]}},
            },
        },
    }


_SHARE = {"scale": {"domain": [0, 1]}}
_CLASSES = {"field": "class", "type": "nominal", "scale": REAL_FAKE, **TOP}
_LINE = {"type": "line", "color": OKABE_ITO[0]}
_BAND = {"type": "area", "opacity": 0.25, "color": OKABE_ITO[0]}
_WHERE_KNOWN = {"transform": [{"filter": "isValid(datum.low)"}]}


def _diagonal(x: str, y: str) -> Chart:
    """Return the line from (0, 0) to (1, 1), on axes of these titles."""
    return {
        "data": {"values": [{"p": 0}, {"p": 1}]},
        "mark": {"type": "line", "color": "#999999", "strokeDash": [3, 3]},
        "encoding": {"x": _x("p", x), "y": _x("p", y)},
    }


def _roc() -> Chart:
    steps = {"interpolate": "step-after"}
    x, y = _x("fpr", "false positive rate", **_SHARE), "true positive rate"
    ends = {"x": x, "y": _x("low", y, **_SHARE), "y2": {"field": "high"}}
    return {
        **SMALL,
        "layer": [
            _diagonal(x["title"], y),
            {"mark": {**_BAND, **steps}, "encoding": ends, **_WHERE_KNOWN},
            {"mark": {**_LINE, **steps}, "encoding": {"x": x, "y": _x("tpr", y, **_SHARE)}},
        ],
    }


def _det() -> Chart:
    x, y = _deviate("x", "false positive rate, %"), "false negative rate, %"
    ends = {"x": x, "y": _deviate("y_low", y), "y2": {"field": "y_high"}}
    straight = {"interpolate": "linear"}
    return {
        **SMALL,
        "transform": [
            {"calculate": f"quantileNormal(clamp({rate}, 0.0005, 0.9995))", "as": name}
            for name, rate in _DEVIATES.items()
        ],
        "layer": [
            {"mark": {**_BAND, **straight}, "encoding": ends, **_WHERE_KNOWN},
            {"mark": {**_LINE, **straight}, "encoding": {"x": x, "y": _deviate("y", y)}},
        ],
    }


def _reliability() -> Chart:
    return {
        **SMALL,
        "layer": [
            _diagonal("mean p(fake)", ""),
            {
                "mark": {**_LINE, "point": True},
                "encoding": {
                    "x": _x("p", "mean p(fake)", **_SHARE),
                    "y": _x("share", "share of fakes", **_SHARE),
                    "tooltip": [{"field": name} for name in ("p", "share", "images")],
                },
            },
        ],
    }


_DEVIATES = {
    "x": "datum.fpr",
    "y": "1 - datum.tpr",
    "y_low": "1 - datum.high",
    "y_high": "1 - datum.low",
}


def _deviate(field: str, title: str) -> Chart:
    """An axis of normal deviates, marked by the rates that they stand for."""
    from statistics import NormalDist

    values = {rate: NormalDist().inv_cdf(rate) for rate in _PROBITS}
    words = [f"datum.value < {value + 0.01:.4f} ? '{_PROBITS[p]}'" for p, value in values.items()]
    axis = {"values": [*values.values()], "labelExpr": " : ".join([*words, "''"])}
    domain = [NormalDist().inv_cdf(0.001), NormalDist().inv_cdf(0.97)]
    return _x(field, title, axis=axis, scale={"domain": domain, "clamp": True})
