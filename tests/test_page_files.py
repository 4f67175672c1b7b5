"""The page's files are there, and its policy names nothing but the page's own host."""

from rnnt.page_files import PAGE, page_policy


def test_the_page_has_an_index_and_both_engines():
    assert all((PAGE / name).is_file() for name in ("index.html", "server/start.js", "local/start.js"))


def test_the_policy_is_strict_and_can_be_changed():
    directives = dict(item.split(" ", 1) for item in page_policy().split("; "))
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
    assert set(directives.values()) == {"'none'", "'self'", "blob:"}
    changed = page_policy(script_src="'self' 'wasm-unsafe-eval'", worker_src="'self'")
    found = dict(item.split(" ", 1) for item in changed.split("; "))
    assert found == directives | {"script-src": "'self' 'wasm-unsafe-eval'", "worker-src": "'self'"}
