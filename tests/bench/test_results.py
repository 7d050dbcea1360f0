import json

import pytest

from torch_direct.bench.results import rounded, short, write_results


@pytest.mark.parametrize(
    ("value", "digits"),
    [(123_456.0, 123_500.0), (54.3219, 54.32), (0.000123456, 0.0001235), (0.0, 0.0)],
)
def test_values_have_four_digits(value, digits):
    assert rounded(value) == digits


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (999.4, "999"), (12.345, "12.3"), (0.01234, "0.0123"), (-2000, "-2,000")],
)
def test_tables_show_three_digits_or_whole_thousands(value, text):
    assert short(value) == text


def test_each_entry_of_a_list_has_a_line(tmp_path):
    results = {"rows": [{"a": 1}, {"a": 2}], "cases": {"x": {}, "y": {"b": None}}, "none": []}
    path = tmp_path / "new" / "results.json"
    write_results(results, path)
    assert json.loads(path.read_text()) == results
    assert {'    {"a": 1},', '    "y": {"b": null}'} <= set(path.read_text().splitlines())
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]
