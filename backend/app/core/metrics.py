"""What is counted for Prometheus; docs/operations says what to watch.

Whoever has something to count does it here by name. Labels are few and bounded: route templates,
never paths; codes and reasons, never texts. Several processes of one machine count together where
PROMETHEUS_MULTIPROC_DIR names a directory that was empty when the first of them started.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MEDIA_TYPE = CONTENT_TYPE_LATEST
UNMATCHED = "unmatched"
"""The route of requests that no route took: their paths are whatever strangers make up."""

MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS = Counter(
    "oneslot_http_requests", "Requests that were answered.", ["method", "route", "status"]
)
DURATION = Histogram(
    "oneslot_http_request_duration_seconds",
    "From the first byte of the request's head to the last of the answer.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
IN_FLIGHT = Gauge(
    "oneslot_http_requests_in_flight", "Requests being answered.", multiprocess_mode="livesum"
)
PROBLEMS = Counter(
    "oneslot_http_problems",
    "Error answers: a booking's refusal by its reason, a failed login by its code.",
    ["method", "route", "code", "reason"],
)
BOOKINGS_CREATED = Counter(
    "oneslot_bookings_created", "Bookings that were committed, each of a series as well."
)
RATE_LIMITS = Counter(
    "oneslot_rate_limit_decisions",
    "`admitted`, `refused`, or `open`: let through uncounted, since Redis is away.",
    ["policy", "decision"],
)
CACHE_LOOKUPS = Counter(
    "oneslot_cache_lookups", "`hit`, `miss` or `bypass`, by what was looked for.", ["of", "outcome"]
)
REDIS_ERRORS = Counter("oneslot_redis_errors", "Calls that failed, by what they were for.", ["use"])
CONNECTIONS = Gauge(
    "oneslot_database_connections",
    "Connections to Postgres by pool; `in_use` of those that are `open`.",
    ["pool", "state"],
    multiprocess_mode="livesum",
)
JOBS = Gauge(
    "oneslot_jobs",
    "Jobs in the queue by state; `failed` ones wait for an operator.",
    ["job", "state"],
    multiprocess_mode="mostrecent",
)
JOBS_OLDEST = Gauge(
    "oneslot_jobs_oldest_seconds",
    "How long the job that has been due longest has been so.",
    ["job"],
    multiprocess_mode="mostrecent",
)
FOLLOWERS_BEHIND = Gauge(
    "oneslot_follower_behind_seconds",
    "How long ago the next event happened that a follower of the log has not been told of.",
    ["follower"],
    multiprocess_mode="mostrecent",
)


_jobs_seen: set[tuple[str, str]] = set()


def measured(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request that has been answered."""
    known, where = _bounded(method), route or UNMATCHED
    REQUESTS.labels(known, where, status).inc()
    DURATION.labels(known, where).observe(seconds)


def refused(method: str, route: str | None, code: str, reason: str) -> None:
    """Count an error answer."""
    PROBLEMS.labels(_bounded(method), route or UNMATCHED, code, reason).inc()


def pools(usage: Mapping[str, Mapping[str, int]]) -> None:
    """Note how many connections each pool has: `{"sessions": {"in_use": 1, …}}`."""
    for pool, states in usage.items():
        for state, number in states.items():
            CONNECTIONS.labels(pool, state).set(number)


def backlog(jobs: Mapping[tuple[str, str], int], oldest: Mapping[str, float]) -> None:
    """Note what is in the queue: jobs by name and state, and how long the oldest has been due."""
    # What has gone is set to 0 and not removed: the files of several processes forget nothing.
    for labels in _jobs_seen | set(jobs):
        JOBS.labels(*labels).set(jobs.get(labels, 0))
    for job in {job for job, _ in _jobs_seen} | set(oldest):
        JOBS_OLDEST.labels(job).set(oldest.get(job, 0))
    _jobs_seen.update(jobs)


def followers(behind: Mapping[str, float]) -> None:
    """Note by how many seconds each follower of the log is behind."""
    for follower, seconds in behind.items():
        FOLLOWERS_BEHIND.labels(follower).set(seconds)


def exposition() -> bytes:
    """All of it in Prometheus' text format, of every process that counts together."""
    if MULTIPROCESS_DIRECTORY not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no types
    return generate_latest(registry)


def forget_the_dead() -> None:
    """Take back what processes that are gone had in flight; each new process does it once."""
    directory = os.environ.get(MULTIPROCESS_DIRECTORY)
    if directory is None:
        return
    pids = {int(path.stem.rpartition("_")[2]) for path in Path(directory).glob("gauge_live*_*.db")}
    for pid in pids - {os.getpid()}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # nor has this
        except PermissionError:  # it lives, and is another user's
            continue


def _bounded(method: str) -> str:
    return method if method in _METHODS else "other"
