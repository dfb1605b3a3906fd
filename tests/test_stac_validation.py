"""Laws of STAC validation: what is a violation, what is looked at, and that no network is needed."""

import copy
import datetime
import json
import socket

import pystac
import pytest

from pygeoapi_prefect.handlers.stac_validation import known_extensions, validate_stac

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
UNKNOWN = "https://example.org/mood/v1.0.0/schema.json"
MOMENT = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever asks for a connection or a name fails the test."""

    def refuse(*arguments, **named):
        raise AssertionError("a connection was asked for")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def item(item_id="scene", **keys):
    made = pystac.Item(item_id, {"type": "Point", "coordinates": [8, 47]}, [8, 47, 8, 47], MOMENT, {})
    return made.to_dict(transform_hrefs=False) | keys


def catalogue(folder, *items):
    made = pystac.Catalog("root", "A catalogue")
    made.add_items(pystac.Item.from_dict(one) for one in items)
    made.normalize_and_save(str(folder), pystac.CatalogType.SELF_CONTAINED)
    return str(folder / "catalog.json")


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_valid_item(version):
    """An item of either version has no violation."""
    assert validate_stac(item(stac_version=version)) == []


def test_kinds():
    """Objects of pystac, mappings and ItemCollections are all held against the standard."""
    extent = pystac.Extent(pystac.SpatialExtent([[0, 0, 1, 1]]), pystac.TemporalExtent([[MOMENT, None]]))
    collection = pystac.Collection("all", "All", extent, license="other")
    assert validate_stac(collection) == []
    assert validate_stac(pystac.ItemCollection([item()])) == []
    assert validate_stac(pystac.Catalog("root", "A catalogue")) == []
    assert validate_stac({"hello": "world"}) == ["a document without id: no STAC Item, Catalog or Collection"]


def test_violations_name_item_and_place():
    """Of each violation the item, the place and the reason are told; of an ItemCollection those of each item."""
    wrong = item("wrong")
    del wrong["properties"]["datetime"]
    features = {"type": "FeatureCollection", "features": [item(), wrong, item("odd", bbox=["a"])]}
    found = validate_stac(features)
    assert {sentence.partition(":")[0] for sentence in found} == {"wrong", "odd"}
    assert found[0] == (
        "wrong: properties: 'datetime' is a required property; or 'start_datetime' is a required property; or "
        "'end_datetime' is a required property"
    )


def test_known_extension():
    """Fields of an extension that is declared are held against its schema."""
    right = item(stac_extensions=[PROJECTION])
    right["properties"] |= {"proj:code": "EPSG:4326", "proj:shape": [2, 3]}
    assert validate_stac(right) == []
    wrong = copy.deepcopy(right)
    wrong["properties"]["proj:shape"] = ["two", 3]
    assert [sentence.partition(" ")[0] for sentence in validate_stac(wrong)] == ["scene:"]


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ({"raster:sampling": "area", "raster:scale": 0.1}, True),
        ({"raster:sampling": "volume"}, False),
        ({"raster:nonsense": 1}, False),
        ({"raster:histogram": {"count": 2, "min": 0, "max": 1, "buckets": [1, 1]}}, True),
        ({"raster:histogram": {"count": 2}}, False),
    ],
)
def test_raster_fields(fields, is_valid):
    """The raster extension's fields are checked in bands."""
    uri = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
    asset = {"href": "https://example.org/x.tif", "bands": [{"name": "b1", **fields}]}
    assert (validate_stac(item(stac_extensions=[uri], assets={"data": asset})) == []) is is_valid


def test_unknown_extension():
    """What there is no schema of is passed over, and is a violation where that is asked for."""
    odd = item(stac_extensions=[UNKNOWN])
    assert validate_stac(odd) == []
    assert validate_stac(odd, mode="strict") == [f"scene: stac_extensions: there is no schema of {UNKNOWN} here"]


def test_unknown_version():
    """A version that there are no schemas of is a violation."""
    assert validate_stac(item(stac_version="0.9.0")) == ["scene: stac_version: '0.9.0' is not known"]


def test_every_schema_can_be_used():
    """All references between the schemas lead to schemas that are here."""
    base = item(assets={"data": {"href": "https://example.org/x", "roles": ["data"]}})
    base["properties"] |= {
        "proj:projjson": {"type": "nothing"},
        "storage:schemes": {"x": {"type": "aws-s3", "platform": "nowhere"}},
    }
    for uri in known_extensions():
        validate_stac(base | {"stac_extensions": [uri]})
    projjson = [one for one in validate_stac(base | {"stac_extensions": [PROJECTION]}) if "projjson" in one]
    assert projjson != []


def test_tree(tmp_path):
    """Of a catalogue in files, the items that it leads to are looked at."""
    path = catalogue(tmp_path, item("one"), item("two"))
    assert validate_stac(path) == []
    document = json.loads((tmp_path / "two" / "two.json").read_text())
    (tmp_path / "two" / "two.json").write_text(json.dumps(document | {"geometry": "here"}))
    assert {sentence.partition(":")[0] for sentence in validate_stac(path)} == {"two"}


def test_missing_files(tmp_path):
    """A relative link must lead to a file, and so must that of an asset."""
    path = catalogue(tmp_path, item("one", assets={"data": {"href": "./gone.tif"}}), item("two"))
    (tmp_path / "two" / "two.json").unlink()
    assert validate_stac(path) == [
        "one: asset 'data': there is no file './gone.tif'",
        "two/two.json cannot be read: FileNotFoundError",
    ]


def test_links_that_lead_out(tmp_path):
    """What stands outside of the document's folder is not read."""
    (tmp_path / "secret.json").write_text("{}")
    path = catalogue(tmp_path / "inside", item("one"))
    document = json.loads((tmp_path / "inside" / "catalog.json").read_text())
    document["links"] += [
        {"rel": "item", "href": "../secret.json"},
        {"rel": "child", "href": "https://example.org/catalog.json"},
    ]
    (tmp_path / "inside" / "catalog.json").write_text(json.dumps(document))
    assert validate_stac(path) == []
