"""Who gets an answer from the console: nobody without its link, and no other site with it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from ops.panel.access import LIFE, Guard, Keys, kept

if TYPE_CHECKING:
    from pathlib import Path

KEYS = Keys("act")
GUARD = Guard(KEYS, 8405)
COOKIE = f"other=1; holdfast-console-8405={KEYS.look}"
LOOKING = {"Host": "127.0.0.1:8405", "Sec-Fetch-Site": "same-origin", "Cookie": COOKIE}
ACTING = {
    **LOOKING,
    "Origin": "http://127.0.0.1:8405",
    "Content-Type": "application/json",
    "X-Console-Key": "act",
}


def test_keys_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    """In a file of mode 600, and the same ones for a day: an open page survives a restart."""
    file = tmp_path / "state" / "console.key"
    keys = kept(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept(file) == keys
    assert len(keys.act) >= 22  # 128 bits
    old = time.time() - LIFE - 1
    os.utime(file, (old, old))
    assert kept(file) != keys


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_keys_that_others_could_read_are_replaced(tmp_path: Path, mode: int) -> None:
    """Whoever has read them has them."""
    file = tmp_path / "console.key"
    keys = kept(file)
    file.chmod(mode)
    assert kept(file) != keys
    assert file.stat().st_mode & 0o777 == 0o600


def test_keys_are_not_written_through_a_link(tmp_path: Path) -> None:
    """What another one put there is replaced, not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine\n")
    elsewhere.chmod(0o644)
    file = tmp_path / "console.key"
    file.symlink_to(elsewhere)
    kept(file)
    assert elsewhere.read_text() == "mine\n"
    assert not file.is_symlink()


def test_the_link_has_both_words_and_the_cookie_one() -> None:
    """What allows to act follows `#`, which is sent to nobody, and not from the other."""
    assert KEYS.link(8405) == f"http://127.0.0.1:8405/?token={KEYS.look}#act"
    assert "act" not in KEYS.look
    assert Keys("other").look != KEYS.look


def test_whoever_has_the_link_may_look() -> None:
    """By its token, then by the cookie; under both names of this machine."""
    assert GUARD.refuses({"Host": "127.0.0.1:8405"}, KEYS.look) == ""
    assert (
        GUARD.refuses({"Host": "localhost:8405", "Sec-Fetch-Site": "cross-site"}, KEYS.look) == ""
    )
    assert GUARD.refuses(LOOKING, "") == ""
    assert GUARD.refuses({**LOOKING, "Sec-Fetch-Site": "none"}, "") == ""


@pytest.mark.parametrize(
    ("changed", "token"),
    [
        ({"Host": "evil.example:8405"}, KEYS.look),  # DNS rebinding
        ({"Host": "127.0.0.1:8406"}, KEYS.look),
        ({"Host": "127.0.0.1"}, ""),
        ({"Host": "evil.example:8405"}, ""),
        ({}, "wrong"),
        ({}, KEYS.act),
        ({"Cookie": ""}, ""),
        ({"Cookie": "holdfast-console-8405=wrong"}, ""),
        ({"Cookie": f"holdfast-console-8406={KEYS.look}"}, ""),
        ({"Sec-Fetch-Site": "cross-site"}, ""),
        ({"Sec-Fetch-Site": "same-site"}, ""),
    ],
)
def test_nobody_else_may(changed: dict[str, str], token: str) -> None:
    """Another name, another token, no cookie, another site: each alone is enough."""
    assert GUARD.refuses({**LOOKING, **changed}, token)
    assert GUARD.refuses({}, token)


def test_whoever_acts_has_the_second_word_and_is_the_page_itself() -> None:
    """The cookie alone, which other ports of this machine get to see, is not enough."""
    assert GUARD.refuses_to_act(ACTING) == ""
    assert GUARD.refuses_to_act({**ACTING, "Origin": "http://localhost:8405"}) == ""
    for name, values in {
        "Origin": [
            "http://evil.example",
            "null",
            "http://127.0.0.1:8406",
            "https://127.0.0.1:8405",
        ],
        "Content-Type": ["text/plain", "application/x-www-form-urlencoded"],
        "X-Console-Key": ["", KEYS.look, "wrong", "ä"],
    }.items():
        for value in values:
            assert GUARD.refuses_to_act({**ACTING, name: value}), (name, value)
        assert GUARD.refuses_to_act({key: ACTING[key] for key in ACTING if key != name}), name
