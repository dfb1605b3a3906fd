"""Laws of the handler that holds jobs against rules."""

import base64
import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from rasterio.transform import from_origin

from handled_here import JOB_ID, Returns, execute_here
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers.job_resources import available_memory_mib
from pygeoapi_prefect.handlers.loading import load_handlers
from pygeoapi_prefect.handlers.output_rules import OutputRules
from pygeoapi_prefect.handlers.raster_rules import RasterRules
from pygeoapi_prefect.handlers.validated import ValidatedHandler, ValidatedOptions
from pygeoapi_prefect.settings import process_settings

VALIDATED = "pygeoapi_prefect.handlers.ValidatedHandler"
JSON = "application/json"
GEOTIFF = "image/tiff; application=geotiff"


def raster_bytes(values, *, nodata=-1, crs="EPSG:4326", west=-84.0, north=36.5, cell=0.01):
    """A GeoTIFF of one band."""
    with rasterio.MemoryFile() as memory:
        profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "nodata": nodata, "crs": crs}
        height, width = np.shape(values)
        transform = from_origin(west, north, cell, cell)
        with memory.open(**profile, height=height, width=width, transform=transform) as dataset:
            dataset.write(np.asarray(values, "float32"), 1)
        return memory.read()


def executed(folder, returned, *, outputs=("result",), inputs=None, requested=None, name=VALIDATED, **options):
    """The status and the message of a job."""
    handlers = [{"name": name, "options": options}]
    outcome = execute_here(folder, handlers, Returns(returned, outputs), inputs=inputs, outputs=requested)
    return outcome.status.value, outcome.message


def failure(*args, **named):
    status, message = executed(*args, **named)
    assert status == "failed"
    return message


class TestBefore:
    def test_required_inputs(self, tmp_path):
        """Missing, null and empty inputs are told all at once, as the client's fault; false and 0 are values."""
        handlers = [{"name": VALIDATED, "options": {"required_inputs": ["a", "b", "c", "zero", "false"]}}]
        inputs = {"b": None, "c": [], "zero": 0, "false": False}
        outcome = execute_here(tmp_path, handlers, Returns((JSON, 1)), inputs=inputs)
        assert outcome.message == "The input 'a' is missing. The input 'b' is missing. The input 'c' is missing."
        assert (outcome.problem.status, outcome.problem.type) == (400, "MissingParameterValue")

    @pytest.mark.parametrize(
        ("options", "lacking"),
        [
            ({"min_free_disk_mib": 1e12}, "disk space"),
            ({"min_memory_mib": 1e12}, "memory"),
            ({"commands": ["no-such-program"]}, "a program"),
            ({"modules": ["no_such_module"]}, "a program"),
            ({"environment_variables": ["NO_SUCH_VARIABLE"]}, "a setting"),
            ({"reachable": ["/no/such/file"]}, "data"),
            ({"reachable": ["nosuchscheme://place"]}, "data"),
            ({"reachable": ["/no/such/file"], "commands": ["no-such-program", "nor-this"]}, "a program, data"),
        ],
    )
    def test_resources(self, tmp_path, options, lacking, caplog):
        """A job without what it needs does not begin; the client learns the kind, the operator what it is."""
        handlers = [{"name": VALIDATED, "options": options}]
        outcome = execute_here(tmp_path, handlers, Returns(lambda _: pytest.fail("the process ran")))
        assert (outcome.message, outcome.problem.status) == (f"The server lacks what this job needs: {lacking}.", 503)
        for named in ("no-such-program", "/no/such/file"):
            assert (named in caplog.text) == (named in json.dumps(options))

    def test_resources_that_are_there(self, tmp_path):
        """Then the job runs."""
        options = {
            "min_free_disk_mib": 1,
            "min_memory_mib": 1,
            "commands": ["sh"],
            "modules": ["json"],
            "environment_variables": ["PATH"],
            "reachable": [str(tmp_path), f"file://{tmp_path}"],
        }
        assert executed(tmp_path, (JSON, 1), **options)[0] == "successful"

    def test_the_memory_of_a_container(self, tmp_path, monkeypatch):
        """Its limit counts, and files that were only read do not."""
        monkeypatch.setattr("pygeoapi_prefect.handlers.job_resources._CGROUP", tmp_path)
        (tmp_path / "memory.max").write_text("8388608\n")
        (tmp_path / "memory.current").write_text("6291456\n")
        (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1048576\n")
        assert available_memory_mib() == 3
        (tmp_path / "memory.max").write_text("max\n")
        assert available_memory_mib() > 3


class TestOutputs:
    @pytest.mark.parametrize(
        ("returned", "rules", "complaint"),
        [
            ((JSON, []), {}, "is empty"),
            (("text/plain", ""), {}, "is empty"),
            (("image/png", b""), {}, "is empty"),
            ((JSON, 1), {"media_type": "image/tiff"}, "is application/json, not image/tiff"),
            (("text/plain", "äb"), {"min_bytes": 4}, "has 3 bytes, less than 4"),
            (("text/plain", "äb"), {"max_bytes": 2}, "has 3 bytes, more than 2"),
            (("image/png", bytes(9)), {"max_bytes": 8}, "has 9 bytes, more than 8"),
            (("text/plain", "a" * 9000), {"max_bytes": 8999}, "has 9000 bytes, more than 8999"),
            ((JSON, {"a": [1, "x"]}), {"schema": {"properties": {"a": {"items": {"type": "number"}}}}}, "#/a/1"),
            ((JSON, ["a" * 9000]), {"schema": {"items": {"type": "number"}}}, "must be a number at #/0"),
            ((JSON, {}), {"schema": {"required": ["a"]}, "non_empty": False}, "'a'"),
            ((JSON, "[1]"), {"schema": {"type": "object"}}, "must be an object"),
            ((JSON, {"mean": 91}), {"ranges": {"/mean": [0, 90]}}, "has 91 at /mean, which is not at least 0 and"),
            ((JSON, {"a/b": [1, 2]}), {"ranges": {"/a~1b": [None, 1]}}, "has 2 at /a~1b, which is not at most 1"),
            ((JSON, {"mean": True}), {"ranges": {"/mean": [0, 90]}}, "has something at /mean that is no number"),
            ((JSON, {"mean": float("nan")}), {"ranges": {"/mean": [0, 90]}}, "that is no number"),
            ((JSON, {"man": 1}), {"ranges": {"/mean": [0, 90]}}, "has nothing at /mean"),
            (("image/png", b"\x00"), {"ranges": {"": [0, 1]}}, "is no JSON document"),
            ((JSON, {"href": "https://example.org/a"}), {"max_bytes": 1}, "is a link, whose content is not looked at"),
        ],
    )  # fmt: skip
    def test_what_is_wrong(self, tmp_path, returned, rules, complaint):
        """A violated rule fails the job, with the reason; values in the store's files are looked into as well."""
        message = failure(tmp_path, returned, rules={"result": rules})
        assert message.startswith("The output 'result' ")
        assert complaint in message

    @pytest.mark.parametrize(
        ("returned", "rules"),
        [
            ((JSON, {"mean": 90}), {"ranges": {"/mean": [0, 90]}, "schema": {"required": ["mean"]}, "min_bytes": 3}),
            (("image/tiff; application=geotiff", b"II"), {"media_type": "image/tiff", "min_bytes": 2, "max_bytes": 2}),
            ((JSON, []), {"non_empty": False}),
            ((JSON, 0), {"schema": {"type": "integer"}}),
            ((JSON, {"href": "https://example.org/a", "type": "image/tiff"}), {"media_type": "image/tiff"}),
            (("text/plain", "[]"), {"schema": {"type": "string"}}),
            (("text/plain", "None"), {"max_bytes": 4}),
        ],
    )
    def test_what_is_right(self, tmp_path, returned, rules):
        """An output that obeys its rules is a result."""
        assert executed(tmp_path, returned, rules={"result": rules})[0] == "successful"

    def test_everything_at_once(self, tmp_path):
        """The client reads all violations, of all outputs, and no path of the server."""
        returned = (JSON, {"a": ["x" * 9000], "b": {"value": "AAA=", "encoding": "base64", "mediaType": "image/tiff"}})
        rules = {"a": {"schema": {"type": "object"}, "max_bytes": 9}, "b": {"raster": {}, "min_bytes": 3}, "c": {}}
        message = failure(tmp_path, returned, outputs=("a", "b", "c"), rules=rules)
        assert message == (
            "The output 'a' has 9004 bytes, more than 9. The output 'a' must be an object at #. "
            "The output 'b' has 2 bytes, less than 3. The output 'b' cannot be read as a raster. "
            "The output 'c' is missing."
        )

    def test_outputs_that_nobody_asked_for(self, tmp_path):
        """A client that selects outputs need not get the others; a rule may say that an output need not be there."""
        returned = (JSON, {"a": 1})
        named = {"outputs": ("a", "b"), "rules": {"a": {}, "b": {}}}
        assert executed(tmp_path, returned, requested={"a": {}}, **named)[0] == "successful"
        assert failure(tmp_path, returned, requested={"a": {}, "b": {}}, **named) == "The output 'b' is missing."
        named["rules"]["b"] = {"required": False}
        assert executed(tmp_path, returned, **named)[0] == "successful"

    def test_rules_for_nothing(self, tmp_path, caplog):
        """A rule for an output that the process does not declare fails the job: nobody would notice a misspelt one."""
        status, message = executed(tmp_path, (JSON, 1), rules={"resutl": {}})
        assert (status, message) == ("failed", ConfigurationError.default_client_message)
        assert "rules for outputs that the process does not have: resutl" in caplog.text

    def test_a_text_that_looks_like_a_path(self, tmp_path):
        """What a process returns as a text is one: no other job's file and none of the server is read for it."""
        other = tmp_path / "results" / "other" / "1" / "return"
        other.parent.mkdir(parents=True)
        other.write_text("[]")
        for path in (other, Path("/etc/passwd"), tmp_path / "results" / JOB_ID / ".." / "other" / "1" / "return"):
            rules = {"result": {"min_bytes": len(str(path)), "max_bytes": len(str(path))}}
            assert executed(tmp_path, ("text/plain", str(path)), rules=rules)[0] == "successful"

    def test_rules_of_a_method(self, tmp_path):
        """A class may make its rules of the job, and add violations of its own."""
        name = f"{__name__}.OwnRules"
        assert failure(tmp_path, (JSON, {"count": 3}), inputs={"most": 2}, name=name) == (
            "The output 'result' has 3 at /count, which is not at most 2. The count is odd."
        )
        assert executed(tmp_path, (JSON, {"count": 2}), inputs={"most": 2}, name=name)[0] == "successful"

    def test_a_method_that_only_says_no(self, tmp_path):
        """As the seed of this pattern has it: a false answer fails the job."""
        message = failure(tmp_path, (JSON, 1), name=f"{__name__}.SaysNo")
        assert message == "The outputs of the process did not pass the checks."


class OwnRules(ValidatedHandler):
    def quality_rules(self):
        return {"result": {"ranges": {"/count": [None, self.conf["lenv"]["inputs"]["most"]]}}}

    def validate_outputs(self, output):
        if output["result"]["count"] % 2:
            super().validate_outputs(output)
            self.violations.append("The count is odd.")
            return False
        return super().validate_outputs(output)


class SaysNo(ValidatedHandler):
    def validate_outputs(self, output):
        return False


class TestRasters:
    @pytest.mark.parametrize(
        ("rules", "complaint"),
        [
            ({"bands": 2}, "has 1 bands, not 2"),
            ({"width": [4, None]}, "has a width of 3 cells, which is not at least 4"),
            ({"height": [None, 1]}, "has a height of 2 cells, which is not at most 1"),
            ({"crs": "EPSG:32616"}, "does not have the coordinate reference system EPSG:32616"),
            ({"bounds": [-83.99, 36, -83, 37]}, "lies outside of the bounds -83.99, 36, -83, 37"),
            ({"max_nodata_share": 0.3}, "has no data in 33.3% of its cells, more than 30.0%"),
            ({"values": [0, 3]}, "has a greatest value of 4, which is not at least 0 and at most 3"),
            ({"values": [2, None]}, "has a smallest value of 1, which is not at least 2"),
        ],
    )
    @pytest.mark.parametrize("form", ["binary", "base64", "file"])
    def test_what_is_wrong(self, tmp_path, form, rules, complaint):
        """Size, place, share of cells without data, and values; -1 and NaN are no data."""
        assert (
            failure(tmp_path, self.returned(form), rules={"result": {"raster": rules}})
            == f"The output 'result' {complaint}."
        )

    @staticmethod
    def returned(form):
        content = raster_bytes([[1, 2, 3], [4, -1, np.nan]])
        if form == "base64":
            return JSON, {"value": base64.b64encode(content).decode(), "encoding": "base64", "mediaType": GEOTIFF}
        if form == "binary":
            return GEOTIFF, content

        def write(_):
            path = Path(tempfile.gettempdir(), "raster.tif")
            path.write_bytes(content)
            return GEOTIFF, path

        return write

    def test_what_is_right(self, tmp_path):
        """Limits themselves are within."""
        rules = {
            "bands": 1,
            "width": [3, 3],
            "height": [2, 2],
            "crs": "EPSG:4326",
            "bounds": [-84.0, 36.48, -83.97, 36.5],
            "max_nodata_share": 0.34,
            "values": [1, 4],
        }
        content = raster_bytes([[1, 2, 3], [4, -1, np.nan]])
        assert executed(tmp_path, (GEOTIFF, content), rules={"result": {"raster": rules}})[0] == "successful"

    def test_no_other_file_is_read(self, tmp_path):
        """A format that names other files is no raster here: else a client could read the server's through it."""
        (tmp_path / "secret.tif").write_bytes(raster_bytes([[1]]))
        vrt = (
            '<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
            f"<SourceFilename>{tmp_path / 'secret.tif'}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
            "</VRTRasterBand></VRTDataset>"
        )
        with rasterio.open(vrt) as dataset:
            assert dataset.read(1).tolist() == [[1]]
        for returned in [("text/xml", vrt), ("text/xml", vrt.encode()), ("text/xml", vrt + " " * 9000)]:
            message = failure(tmp_path, returned, rules={"result": {"raster": {"bands": 1}}})
            assert message == "The output 'result' cannot be read as a raster."


class TestStac:
    @staticmethod
    def item(**properties):
        moment = datetime(2024, 1, 1, tzinfo=UTC)
        geometry = {"type": "Point", "coordinates": [0.0, 0.0]}
        return pystac.Item("scene", geometry, [0.0, 0.0, 0.0, 0.0], moment, properties).to_dict(include_self_link=False)

    def test_documents(self, tmp_path):
        """An output that is STAC must be valid, also a collection of Items, though nothing says that it is STAC."""
        broken = {**self.item(), "bbox": [0]}
        for document in (self.item(), {"type": "FeatureCollection", "features": [self.item()]}, {"a": 1}):
            assert executed(tmp_path, (JSON, document))[0] == "successful"
        for document in (broken, {"type": "FeatureCollection", "features": [self.item(), broken]}):
            assert failure(tmp_path, (JSON, document)).startswith("The output 'result' is no valid STAC: scene: bbox")
        assert executed(tmp_path, (JSON, broken), validate_stac=False)[0] == "successful"

    def test_outputs_that_must_be_stac(self, tmp_path):
        """Where the configuration says so, anything else is a violation."""
        for returned in [(JSON, {"a": 1}), (JSON, 1), ("text/plain", "a"), (JSON, {"href": "https://example.org"})]:
            message = failure(tmp_path, returned, stac_outputs=["result"])
            assert message == "The output 'result' is no STAC document."
        assert executed(tmp_path, (JSON, self.item()), stac_outputs=["result"])[0] == "successful"

    @pytest.mark.parametrize("is_broken", [False, True])
    def test_catalogues(self, tmp_path, is_broken):
        """A catalogue that the process left as files is validated with its items."""

        def write(_):
            catalogue = pystac.Catalog("catalogue", "A catalogue")
            catalogue.add_item(pystac.Item.from_dict(self.item()))
            catalogue.normalize_and_save(tempfile.gettempdir(), pystac.CatalogType.SELF_CONTAINED)
            path = Path(tempfile.gettempdir(), "scene", "scene.json")
            if is_broken:
                path.write_text(path.read_text().replace('"bbox"', '"box"'))
            return JSON, Path(tempfile.gettempdir(), "catalog.json")

        status, message = executed(tmp_path, write)
        assert status == ("failed" if is_broken else "successful")
        assert ("is no valid STAC: scene: " in message) is is_broken
        assert str(tmp_path) not in message


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"required_input": []}, r"required_input is not known; did you mean 'required_inputs'\?"),
            ({"required_inputs": "area"}, "required_inputs: "),
            ({"min_memory_mib": 0}, "min_memory_mib: "),
            ({"rules": {"a": {"media_typ": "a/b"}}}, r"rules\.a\.media_typ"),
            ({"rules": {"raster": {"band": 1}}}, r"rules\.raster\.band is not known; known keys: max_bytes,"),
            (
                {"rules": {"raster": {"raster": {"band": 1}}}},
                r"raster\.raster\.band is not known; did you mean 'bands'",
            ),
            ({"rules": {"a": {"schema": {"type": "objekt"}}}}, r"rules\.a\.schema: .*no JSON Schema"),
            ({"rules": {"a": {"ranges": {"mean": [0, 1]}}}}, r"rules\.a\.ranges\..*no JSON Pointer"),
            ({"rules": {"a": {"ranges": {"/mean": [1, 0]}}}}, "the least number must come first"),
            ({"rules": {"a": {"raster": {"max_nodata_share": 2}}}}, r"rules\.a\.raster\.max_nodata_share"),
            ({"rules": {"a": {"raster": {"bounds": [2, 0, 1, 1]}}}}, "west < east"),
        ],
    )
    def test_mistakes(self, options, complaint):
        """What cannot be meant is refused where the configuration is read, by its key."""
        handlers = [{"name": VALIDATED, "options": options}]
        settings = process_settings("p", {"processor": {"name": "HelloWorld", "prefect": {"handlers": handlers}}})
        with pytest.raises(ConfigurationError, match=rf"handlers\.0\.options\..*{complaint}"):
            load_handlers("p", settings.handlers)

    def test_documentation(self):
        """Each option and each rule is in the page."""
        page = (Path(__file__).parents[1] / "docs" / "how-to" / "validate-results.md").read_text()
        told = {name for cell in re.findall(r"^\| (`[^|]+) \|", page, re.M) for name in re.findall(r"`(\w+)`", cell)}
        sections = (ValidatedOptions, OutputRules, RasterRules)
        assert told == {one.alias or name for kind in sections for name, one in kind.model_fields.items()} - {"rules"}
