"""
What it costs to hold an execute request against its process description, in microseconds.

The peer is bare ``jsonschema`` with the same schemas, compiled once: what nobody can be faster than who uses it.
"""

import time
from collections.abc import Callable
from typing import Any

from jsonschema import Draft202012Validator
from pygeoapi.process.hello_world import PROCESS_METADATA as HELLO_WORLD
from referencing import Registry

from pygeoapi_prefect.validation import RequestValidator

ROUNDS = 5
CALLS = 2000

POLYGON = {"type": "Polygon", "coordinates": [[[number % 10, number] for number in range(100)]]}
GEOMETRY = {
    "type": "object",
    "required": ["type", "coordinates"],
    "properties": {
        "type": {"enum": ["Point", "Polygon"]},
        "coordinates": {"type": "array", "items": {"type": "array", "items": {"type": "array"}}},
    },
}
NUMBERS = {"type": "array", "items": {"type": "number"}}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hello-world": (HELLO_WORLD, {"name": "World", "message": "An optional message."}),
    "1000 numbers": ({"inputs": {"x": {"schema": NUMBERS}}}, {"x": [0.5] * 1000}),
    "polygon of 100 positions": ({"inputs": {"x": {"schema": GEOMETRY}}}, {"x": POLYGON}),
}


def microseconds(call: Callable[[], object]) -> float:
    """Of one call: the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        calls, began = 0, time.perf_counter()
        while calls < CALLS and time.perf_counter() - began < 1:
            call()
            calls += 1
        best = min(best, (time.perf_counter() - began) / calls)
    return best * 1e6


def main() -> None:
    """Print the table."""
    print("| request | ours, µs | bare jsonschema, µs |")
    print("|---|---|---|")
    for name, (description, inputs) in CASES.items():
        ours = RequestValidator(name, description)
        bare = {key: Draft202012Validator(description["inputs"][key]["schema"], registry=Registry()) for key in inputs}

        def check_bare(bare: dict[str, Any] = bare, inputs: dict[str, Any] = inputs) -> None:
            for key, value in inputs.items():
                assert not list(bare[key].iter_errors(value))

        body = {"inputs": inputs}
        own = microseconds(lambda ours=ours, body=body: ours.check(body))
        print(f"| {name} | {own:.0f} | {microseconds(check_bare):.0f} |")


if __name__ == "__main__":
    main()
