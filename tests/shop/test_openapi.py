"""The document of the public API: as complete as the routes, and as true as the answers."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from starlette.routing import Route

from sdpatterns import Pipeline, Timeout
from shop.gateway import api, openapi
from shop.gateway.bandwidth import BATCH_PATH
from shop.gateway.service import Storefront
from shop.settings import wall_clock_us

from .visitor import PLENTY, Visitor

pytestmark = pytest.mark.anyio

METHODS = ("get", "put", "post", "delete")


def served() -> set[tuple[str, str]]:
    """What the gateway answers below /api, by method."""
    storefront = Storefront({}, reviews_policy=Pipeline(Timeout(1.0), name="nobody"), now_us=wall_clock_us)
    routes = [route for route in api.routes(storefront) if isinstance(route, Route)]
    found = {(route.path, method.lower()) for route in routes for method in route.methods or ()}
    return {each for each in found if each[0].startswith("/api/") and each[1] != "head"} | {(BATCH_PATH, "post")}


def test_each_route_is_in_the_document_and_nothing_else() -> None:
    described = {(path, method) for path, item in openapi.document()["paths"].items() for method in item}
    assert described == served()


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path, item[method])
        for path, item in openapi.document()["paths"].items()
        for method in METHODS
        if method in item
    ]


def test_each_parameter_of_a_path_is_described_and_each_operation_has_a_name_of_its_own() -> None:
    for path, operation in operations():
        described = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert described == set(re.findall(r"{(\w+)}", path)), path
    names = [operation["operationId"] for _, operation in operations()]
    assert len(names) == len(set(names))


def test_all_that_reads_is_conditional_and_all_that_takes_a_body_bounds_it() -> None:
    for path, item in openapi.document()["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"].keys()
            assert {"429", "503", "414"} <= answers, path
            if method == "get":
                assert {"304", "412"} <= answers, path
            if "requestBody" in operation:
                assert {"400", "408", "413", "415"} <= answers, path


def test_examples_are_what_their_schemas_say() -> None:
    document = openapi.document()
    bodies = [
        operation["requestBody"]["content"]["application/json"]
        for _, operation in operations()
        if "requestBody" in operation
    ]
    assert len(bodies) == 3
    for body in bodies:
        schema = {**body["schema"], "components": document["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(body["example"])


async def test_the_document_is_served_and_has_no_links_to_other_sites(shared: Visitor) -> None:
    assert await shared.get(openapi.PATH) == openapi.document()
    assert "http" not in str(openapi.document())


async def test_an_undocumented_field_would_be_seen(shared: Visitor) -> None:
    document = openapi.document()
    schema = {"$ref": "#/components/schemas/Product", "components": document["components"]}
    product = await shared.get(f"/api/v1/products/{PLENTY}")
    validator = jsonschema_rs.Draft202012Validator(schema)
    validator.validate(product)
    assert not validator.is_valid({**product, "cost_minor": 1})
