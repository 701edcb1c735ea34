"""Django's cache and its sessions. BACKEND: the class of the cache. KEYS: the function that makes a key."""
import os

import django
from common import URL
from django.conf import settings


def tagged(key, prefix, version):
    return "{django}:%s:%s:%s" % (prefix, version, key)


cache_settings = {"BACKEND": os.environ["BACKEND"], "LOCATION": URL}
if os.environ.get("KEYS"):
    cache_settings["KEY_FUNCTION"] = tagged
    cache_settings["OPTIONS"] = {}
settings.configure(
    CACHES={"default": cache_settings},
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    INSTALLED_APPS=["django.contrib.sessions"],
)
django.setup()
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import cache

cache.clear()
cache.set("a", 1, 30)
assert cache.get("a") == 1 and cache.add("a", 2) is False and cache.get_or_set("b", 5) == 5
names = [f"k{number}" for number in range(100)]
cache.set_many({name: name for name in names}, timeout=60)
assert cache.get_many(names) == {name: name for name in names}
cache.delete_many(names[:50])
assert len(cache.get_many(names)) == 50
assert cache.incr("a", 4) == 5 and cache.touch("a", 60)
if hasattr(cache, "delete_pattern"):
    if not os.environ.get("KEYS"):
        assert cache.delete_pattern("k*") == 50
    with cache.lock("l", timeout=5):
        pass
    assert cache.ttl("a") > 0
session = SessionStore()
session["x"] = 1
session.save()
assert SessionStore(session_key=session.session_key)["x"] == 1
session.flush()
cache.clear()
assert cache.get("a") is None
print("ok")
