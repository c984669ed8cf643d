"""rendered text: what strangers write becomes HTML that can do nothing but be read."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcommons.hub.rendering import ATTRIBUTES, MAX_MARKDOWN, MAX_OPENERS, OPENERS, SCHEMES, TAGS, render

# OWASP's filter evasion sheet, mutation XSS, DOM clobbering, CSS, and ways that Markdown itself opens
PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<script\x00>alert(1)</script>",
    "<script/x>alert(1)</script>",
    "<<script>alert(1)//<</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror\x0b=alert(1)>",
    "<img/src=x/onerror=alert(1)>",
    '<img """><script>alert(1)</script>">',
    "<img src=javascript:alert(1)>",
    "<img src=\"jav\tascript:alert('1')\">",
    "<img src=data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+>",
    "<img srcset='x onerror=alert(1)'>",
    "<img dynsrc=javascript:alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href=javascript:alert(1)><text>x</text></a></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload=alert(1)>#x'>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
    "<math href=javascript:alert(1)>x</math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<style>@import '//evil.example/x.css';</style>",
    "<style>*{background:url(javascript:alert(1))}</style>",
    "<p style='background:url(//evil.example)'>x</p>",
    "<p style=expression(alert(1))>x</p>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href=//evil.example/>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<applet code=x></applet>",
    "<form action=javascript:alert(1)><input type=submit></form>",
    "<form id=x></form><button form=x formaction=javascript:alert(1)>x</button>",
    "<input autofocus onfocus=alert(1)>",
    "<select autofocus onfocus=alert(1)>",
    "<textarea autofocus onfocus=alert(1)>",
    "<textarea></textarea><img src=x onerror=alert(1)>",
    "<keygen autofocus onfocus=alert(1)>",
    "<video src=x onerror=alert(1)></video>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)></audio>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<body onload=alert(1)>",
    "<html manifest=x>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='java\nscript:alert(1)'>x</a>",
    "<a href=' javascript:alert(1)'>x</a>",
    "<a href='\x01javascript:alert(1)'>x</a>",
    "<a href='JaVaScRiPt:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href='javascript&colon;alert(1)'>x</a>",
    "<a href='vbscript:msgbox(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='file:///etc/passwd'>x</a>",
    "<a href=x target=_blank onclick=alert(1)>x</a>",
    "<a id=body name=cookie>x</a>",
    "<img name=getElementById>",
    "<p class=admin id=token>x</p>",
    "<template><script>alert(1)</script></template>",
    "<xmp><img src=x onerror=alert(1)></xmp>",
    "<title><img src=x onerror=alert(1)></title>",
    "<plaintext><img src=x onerror=alert(1)>",
    "<!--<img src=--><img src=x onerror=alert(1)//>",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?xml-stylesheet href='javascript:alert(1)'?>",
    "<custom-element onclick=alert(1)>x</custom-element>",
    "[x](javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox)",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![x](x \"onerror=alert(1)\")",
    '![x" onerror="alert(1)](x)',
    '[x](http://a.example "\'><script>alert(1)</script>")',
    "```<script>alert(1)</script>\n```",
    '```x" onload="alert(1)\ny\n```',
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    "# <script>alert(1)</script>",
    "| <img src=x onerror=alert(1)> |\n|---|\n| <script>alert(1)</script> |",
    "<div\n\nonclick=alert(1)>x",
    "<a href=\"http://x\n\n\" onclick=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\\<script>alert(1)</script>",
]  # fmt: skip


# url.spec.whatwg.org, basic URL parser: controls and blanks before it, tabs and line ends anywhere in it are dropped
SCHEME = re.compile(r"[\x00-\x20]*([A-Za-z\t\n\r][A-Za-z0-9+.\t\n\r-]*):")


class Inspector(HTMLParser):
    """Reads HTML as a browser would, and keeps what is wrong in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.wrong.append(tag)
        for name, value in attrs:
            if name not in ATTRIBUTES.get(tag, set()) | ({"rel"} if tag == "a" else set()):
                self.wrong.append(f"{tag} {name}")
            scheme = SCHEME.match(value or "") if name in ("href", "src") else None
            if scheme and re.sub(r"[\t\n\r]", "", scheme[1]).lower() not in SCHEMES:
                self.wrong.append(f"{tag} {name}={value}")

    def handle_comment(self, data: str) -> None:
        self.wrong.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.wrong.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.wrong.append("instruction")


def wrong(html: str) -> list[str]:
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()
    return inspector.wrong


def test_the_corpus_is_what_it_says() -> None:
    assert len(set(PAYLOADS)) >= 60


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("around", ["{}", "> - {}", "text\n\n{}\n\ntext", "<div>\n{}\n</div>"])
def test_no_payload_does_anything(payload: str, around: str) -> None:
    assert not wrong(render(around.replace("{}", payload)))


def test_the_inspector_sees_what_is_wrong() -> None:
    for html in (
        "<script>",
        "<a href=' \x01java\tscript:x'>",
        "<a onclick=x>",
        "<a href='java\nscript:x'>",
        "<!-- x -->",
        "<img src=data:x>",
        "<?x?>",
    ):
        assert wrong(html), html


@given(
    st.lists(st.sampled_from([*PAYLOADS, "<", ">", '"', "'", "`", "\n\n", "[", "](", ")", "<!--", "-->"]), max_size=8)
)
def test_no_mixture_does_anything(parts: list[str]) -> None:
    html = render("".join(parts))
    assert not wrong(html)
    assert not wrong(render(html)), "what was cleaned stays clean"


def test_good_text_is_shown() -> None:
    html = render(
        "# A *title*\n\n| a | b |\n|:-:|---|\n| 1 | ~~2~~ |\n\n[link](https://example.org) ![](https://a.example/b.png)"
    )
    assert "<h1>A <em>title</em></h1>" in html and "<td>1</td>" in html.replace(' align="center"', "")
    assert '<a href="https://example.org" rel="noopener noreferrer nofollow ugc">link</a>' in html
    assert '<img src="https://a.example/b.png" alt="">' in html and "<s>2</s>" in html


@pytest.mark.parametrize("piece", ["![[", "[", "[](", "*a ", "_a ", "<", "&", "<!--", "~~a ", "[a][", "`a", "<b>"])
def test_text_that_never_closes_what_it_opens_is_shown_as_it_is(piece: str) -> None:
    text = piece * (MAX_OPENERS + 1)
    assert render(text[:MAX_MARKDOWN]).startswith("<pre>")
    assert not wrong(render(text))
    assert not OPENERS.findall("plain text, with words.")


def test_long_text_is_shown_as_it_is() -> None:
    assert render("word " * MAX_MARKDOWN) == f"<pre>{('word ' * MAX_MARKDOWN)[:MAX_MARKDOWN]}</pre>"
