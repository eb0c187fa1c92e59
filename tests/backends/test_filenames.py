"""File names for keys: reversible, distinct, and legal on every file system."""

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstream.backends.filenames import beginning_of, key_of, path_of
from headstream.errors import InvalidInput

CHARS = string.ascii_letters + string.digits + "!-.=_~"
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)

segments = st.one_of(
    st.text(CHARS, min_size=1, max_size=12),
    st.text("A.~1a", min_size=1, max_size=450),
    st.sampled_from(["con", "nul.x", "COM1", "lpt9.", "aux", "prn.", "con~1", "..a", "a..", "..."]),
).filter(lambda segment: segment not in {".", ".."})
keys = st.lists(segments, min_size=1, max_size=4).map("/".join)


@given(keys)
@example("a" * 200)
@example("a" * 201)
@example("a" * 199 + "A")
@example("a" * 200 + "con/nul")
@example("a" * 200 + ".")
@example("a" * 200 + "..")
def test_a_path_tells_its_key(key):
    """The key can be had back from the path: no two keys share one."""
    assert key_of(path_of(key)) == key


@given(keys, keys)
def test_paths_differ_where_case_does_not_count(one, other):
    """Two keys have paths that differ on a case-insensitive file system too, and neither is the other's folder."""
    if one != other:
        assert path_of(one).casefold() != path_of(other).casefold()


@given(keys)
def test_every_name_is_legal_everywhere(key):
    """No name of a path is too long, hidden, a device of Windows, a folder's own or its parent's, or has what Windows drops."""
    path = path_of(key)
    assert path.isascii()
    for name in path.split("/"):
        assert 1 <= len(name) <= 210
        assert not name.startswith(".")
        assert not name.endswith((".", " "))
        assert not DEVICES.fullmatch(name)
        assert not re.search("~[0-9]", name)
        assert not set(name) & set('<>:"\\|?*ABCDEFGHIJKLMNOPQRSTUVWXYZ')


@given(keys)
def test_folders_tell_how_keys_begin(key):
    """What the folders of a path add up to is the beginning of its key."""
    beginning = ""
    for folder in path_of(key).split("/")[:-1]:
        beginning += beginning_of(folder)
        assert key.startswith(beginning)


@given(st.one_of(st.text(max_size=12), st.text("%/6a.A1", max_size=12), keys))
def test_a_path_that_no_key_has_is_nobodys(path):
    """Whatever is found in a folder is either at the one path of its key, or no object."""
    key = key_of(path)
    assert key is None or path_of(key) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".DS_Store",
        "heads/.DS_Store",
        "Thumbs.db",
        "heads/Order",
        "heads/%61",
        "heads/%4A",
        "heads/%2",
        "heads/a b",
        "heads/a%",
        "heads/a%/b",
        "heads//a",
        "/heads",
        "heads/",
        "heads/..",
        "heads/con",
        "heads/a (conflicted copy)",
        "heads/%c3%a9",
        "heads/é",
    ],
)
def test_foreign_files_are_no_objects(path):
    """Files that tools and people leave are not taken for objects, escapes that are not needed neither."""
    assert key_of(path) is None


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("store.json", "store.json"),
        ("heads/order-1", "heads/order-1"),
        ("heads/Order~c3", "heads/%4frder~c3"),
        ("heads/~7b", "heads/%7e7b"),
        ("heads/.2e", "heads/%2e2e"),
        ("heads/con", "heads/%63on"),
        ("heads/x.", "heads/x%2e"),
        ("x" * 202, "x" * 200 + "%/xx"),
    ],
)
def test_paths_stay_as_they_are(key, path):
    """Stores on disk rely on these paths."""
    assert path_of(key) == path


@pytest.mark.parametrize(
    "key", ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a b", "é", "a%41", "a\n", "a\\b", "a\0"]
)
def test_what_is_no_key_has_no_path(key):
    """Whatever could leave the folder, or is not allowed in a key, is refused."""
    with pytest.raises(InvalidInput, match="no key"):
        path_of(key)
