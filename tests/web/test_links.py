"""Link headers as a client reads them."""

from __future__ import annotations

import httpx
import pytest

from sdpatterns.web.links import Link, link_header, percent_encoded, with_parameters


def test_a_client_reads_what_was_written() -> None:
    value = link_header([Link("/orders?cursor=a%2Cb", "next", title='a "b" \\ c'), Link("https://a.example/", "first")])
    assert value == '</orders?cursor=a%2Cb>; rel="next"; title="a \\"b\\" \\\\ c", <https://a.example/>; rel="first"'
    links = httpx.Response(200, headers={"Link": link_header([Link("/a", "next"), Link("/b", "prev first")])}).links
    assert (links["next"]["url"], links["prev first"]["url"]) == ("/a", "/b")


def test_attributes_and_titles_beyond_ascii() -> None:
    link = Link("", "https://a.example/rel#x", title="Übersicht é", type="text/html", hreflang="de")
    expected = "title*=UTF-8''%C3%9Cbersicht%20%C3%A9"
    assert link.value() == f'<>; rel="https://a.example/rel#x"; {expected}; type="text/html"; hreflang="de"'


@pytest.mark.parametrize(
    ("link", "word"),
    [
        (Link("/a>; rel=evil", "next"), "target"),
        (Link("/a b", "next"), "target"),
        (Link("/a\r\nSet-Cookie: x", "next"), "target"),
        (Link("/é", "next"), "target"),
        (Link("/%zz", "next"), "target"),
        (Link("/a", ""), "rel"),
        (Link("/a", "next  last"), "rel"),
        (Link("/a", 'next"; x="'), "rel"),
        (Link("/a", "Next"), "rel"),
        (Link("/a", "next", title="a\nb"), "title"),
        (Link("/a", "next", type="é"), "type"),
    ],
)
def test_what_cannot_stand_in_the_header_is_refused(link: Link, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        link.value()


def test_parameters_are_changed_added_and_left_out() -> None:
    url = "https://a.example/orders?status=open&cursor=old&q=a%26b&empty="
    assert with_parameters(url, cursor="n/w") == "https://a.example/orders?status=open&q=a%26b&empty=&cursor=n%2Fw"
    assert with_parameters("/orders?cursor=old", cursor=None) == "/orders"


def test_every_byte_of_a_request_target_stands_in_a_link() -> None:
    for byte in range(256):
        for target in (b"/a" + bytes([byte]), bytes([byte]), b"/%4" + bytes([byte])):
            Link(percent_encoded(target), "next").value()
    assert percent_encoded(b"/v1/stock?q=[a],b;c") == "/v1/stock?q=[a],b;c"
    assert percent_encoded(b"/%7e%zz\xff\n#") == "/%7e%25zz%FF%0A%23"
