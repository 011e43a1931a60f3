"""What the middlewares read of a scope."""

from __future__ import annotations

import pytest

from sdpatterns.web.asgi.protocol import local_path


@pytest.mark.parametrize(
    ("path", "root", "local"),
    [
        ("/x", "", "/x"),
        ("/api/x", "/api", "/x"),
        ("/api/", "/api", "/"),
        ("/api", "/api", ""),
        ("/api/api", "/api", "/api"),
        ("/apix", "/api", "/apix"),
        ("/x", "/api", "/x"),
    ],
)
def test_the_path_below_the_mount_is_what_follows_it(path: str, root: str, local: str) -> None:
    assert local_path({"path": path, "root_path": root}) == local
    if not root:
        assert local_path({"path": path}) == local
