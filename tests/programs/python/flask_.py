"""Flask: sessions (Flask-Session), limits (Flask-Limiter and limits), a cache (Flask-Caching). KIND: which."""
import os

from common import PORT, URL
from flask import Flask, session

app = Flask("x")


def sessions():
    import redis
    from flask_session import Session

    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis(port=PORT))
    Session(app)

    @app.route("/")
    def visit():
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    client = app.test_client()
    assert [client.get("/").text for _ in range(5)] == list("12345")


def limits():
    from flask_limiter import Limiter
    from limits import parse, storage, strategies

    store = storage.storage_from_string(URL)
    for name in ("FixedWindow", "MovingWindow", "SlidingWindowCounter"):
        limiter, limit = getattr(strategies, f"{name}RateLimiter")(store), parse("10/minute")
        assert sum(limiter.hit(limit, name) for _ in range(30)) == 10, name
        limiter.get_window_stats(limit, name)
        limiter.clear(limit, name)
    store.reset()
    assert store.check()
    Limiter(lambda: "me", app=app, storage_uri=URL, default_limits=["5/minute"], strategy="moving-window")

    @app.route("/")
    def visit():
        return "ok"

    client = app.test_client()
    assert [client.get("/").status_code for _ in range(8)] == [200] * 5 + [429] * 3


def caching():
    from flask_caching import Cache

    cache = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_PORT": PORT, "CACHE_REDIS_HOST": "127.0.0.1"})
    with app.app_context():
        cache.set("a", 1)
        assert cache.get("a") == 1 and cache.add("a", 2) is False
        names = [f"k{number}" for number in range(50)]
        cache.set_many({name: name for name in names})
        assert cache.get_many(*names) == names
        assert cache.get_dict(*names) == dict(zip(names, names))
        cache.delete_many(*names)
        assert cache.inc if hasattr(cache, "inc") else True
        cache.clear()
        assert cache.get("a") is None


globals()[os.environ["KIND"]]()
print("ok")
