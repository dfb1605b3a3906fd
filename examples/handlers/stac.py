"""
A raster that becomes a STAC Item: slope of real terrain, published to a STAC API.

``python examples/handlers/stac.py`` starts a STAC API on 127.0.0.1, serves ``stac.yml``, executes a job of the process
``terrain``, which knows nothing of STAC, and shows the Item of its raster, as the job's result and as the API has it.
It needs the extra ``examples`` and the packages ``stac-fastapi.api`` and ``stac-fastapi.extensions``.
"""

import httpx
from rasterio.io import MemoryFile
from serving_example import execute, served, show
from stac_api import serving_api

BBOX = [-84.30, 36.16, -84.16, 36.25]  # degrees: west, south, east, north


def main() -> None:
    """Execute one job, and follow the links of what comes of it."""
    with serving_api() as (api, _), served("stac.yml", {"STAC_API": api}) as client:
        request = {"inputs": {"product": "slope", "bbox": BBOX}, "outputs": {"raster": {}}}
        job = execute(client, "terrain", request)
        show("The job is:", job["status"])
        item = client.get(f"/jobs/{job['jobID']}/results").json()
        show("Its result is a STAC Item:", item)
        raster = client.get(item["assets"]["data"]["href"]).content
        with MemoryFile(raster) as memory, memory.open() as opened:
            show("Its raster, by its link:", f"{opened.width} x {opened.height} cells in {opened.crs}")
        canonical = next(link["href"] for link in item["links"] if link["rel"] == "canonical")
        published = httpx.get(canonical, trust_env=False).json()
        show(f"And at {canonical}:", published["assets"]["data"]["href"])
        same = client.get(published["assets"]["data"]["href"]).content == raster
        show("There is the same raster:", "yes" if same else "no")


if __name__ == "__main__":
    main()
