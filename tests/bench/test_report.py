"""The figures of the benchmark's report, from samples whose medians and ratios are known."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.bench import chains, compare, orders, report
from tests.bench.load import LOADS, Sample

TITLES = {"envoy": "Envoy, jwt_authn", "fast": "Gatehouse, fast door", "fast-1000": "1,000", "direct": "none"}
RUN = {
    "date": "2026-01-31",
    "processor": "A processor",
    "cores": 2,
    "python": "3.11.7",
    "notes": [],
    "connections": 32,
    "rounds": 3,
    "seconds": 4.0,
}


def samples(*rates: float, p99: float = 4.0, failed: int = 0) -> list[Sample]:
    return [Sample(rate, 2.0, p99, 1e6 / rate, 1.0, int(rate * 4), failed) for rate in rates]


MEASURED = {
    "direct": samples(60000, 60000, 60000),
    # Half the speed in the second round, as on a machine that others use too: ratios do not see it.
    "envoy": samples(10000, 5000, 10000),
    "fast": samples(11000, 5500, 11000, p99=6.0),
    "fast-1000": samples(9900, 4950, 9900),
}


def test_rows_have_medians_and_ratios_within_the_round() -> None:
    rows = report.rows(MEASURED, TITLES)
    assert [row.name for row in rows] == ["direct", "fast", "envoy", "fast-1000"]
    fast = rows[1]
    assert (fast.rate, fast.lowest, fast.highest) == (11000, 5500, 11000)
    assert fast.ratio == pytest.approx(1.1)
    assert fast.p99_ratio == pytest.approx(1.5)
    assert fast.failed == 0


def test_without_the_reference_there_are_no_ratios() -> None:
    (row,) = report.rows({"fast": MEASURED["fast"]}, TITLES)
    assert row.ratio is None
    assert row.p99_ratio is None


def test_the_report_compares_gateways_and_has_the_rest_in_tables_of_its_own() -> None:
    text = report.text(RUN, report.rows(MEASURED, TITLES), MEASURED)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    fast, envoy, routes, tails = (lines[number] for number in (2, 3, 6, 9))
    assert set(text.splitlines()[3]) == set("|-:")
    assert fast == ["Gatehouse, fast door", "11,000", "5,500 – 11,000", "1.10", "2.00", "6.00", "90.9", "100%", "0"]
    assert envoy[:4] == ["Envoy, jwt_authn", "10,000", "5,000 – 10,000", "1.00"]
    assert routes == ["requests/s", "11,000", "9,900", "0.90"]
    assert tails == ["p99 ms", "6.00", "4.00", "1.50", "yes"]
    assert "60,000 requests/s" in text


def test_failed_requests_are_added_up() -> None:
    (row,) = report.rows({"envoy": samples(100, 100, failed=3)}, TITLES)
    assert row.failed == 6


def test_the_chart_is_xml_with_a_bar_for_each_gateway() -> None:
    drawn = ET.fromstring(report.chart(report.rows(MEASURED, TITLES)))
    bars = drawn.findall("{*}rect")
    assert [float(bar.attrib["width"]) for bar in bars] == pytest.approx([360, 360 * 10 / 11], abs=0.1)


def test_publishing_replaces_what_is_between_the_marks_and_nothing_else() -> None:
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.published(document, "new")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.published(once, "new") == once
    with pytest.raises(ValueError, match="results"):
        report.published("no marks", "new")


def test_the_orders_report_has_a_row_for_each_case_and_the_page_s_ratio() -> None:
    found = [
        orders.Case(title, [], {}, rates=[500.0], cpus=[cpu], p99s=[3.0], failed=[0])
        for title, cpu in (("list", 800.0), ("page of few", 1000.0), ("page of many", 1050.0), ("amid many", 1100.0))
    ]
    lines = orders.text("where", found).splitlines()
    assert [cell.strip() for cell in lines[4].strip("|").split("|")] == ["list", "500", "3.0", "800", "1,250", "0"]
    assert lines[-1].endswith("1.05.")
    document = f"{report.BEGIN}\nkept\n{report.END}\n{orders.BEGIN}\nold\n{orders.END}\n"
    written = report.published(document, "new", orders.BEGIN, orders.END)
    assert "kept" in written
    assert "old" not in written


def test_the_chains_report_compares_within_the_round() -> None:
    def measured(title: str, *rates: float) -> chains.Chain:
        cases = {
            what: orders.Case(
                title, [], {}, rates=[rate * times for rate in rates], cpus=[900.0], p99s=[30.0], failed=[1]
            )
            for what, times in ((chains.LIST, 1), (chains.PLACE, 0.5))
        }
        return chains.Chain(title, [], cases)

    # The machine was half as fast in the second round, for both.
    lines = chains.text([measured(chains.OWN, 1500, 750, 1500), measured("FastAPI", 1000, 500, 1000)]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["Gatehouse", "1,500", "750", "", "900", "30.0", "2"]
    assert [cell.strip() for cell in lines[3].split("|")[1:5]] == ["FastAPI", "1,000", "500", "1.50 and 1.50"]


def test_two_checkouts_are_compared_within_the_round() -> None:
    # The machine was half as fast in the second round, for both.
    pair = compare.Pair(LOADS[0], samples(11000, 5500, 11000), samples(10000, 5000, 10000, failed=1))
    (line,) = compare.text([pair], Path("other")).splitlines()[2:]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["GET, repeated", "90.9", "100.0", "0.909", "0.909 – 0.909", "1.100", "3"]
