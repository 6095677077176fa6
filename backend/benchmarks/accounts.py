"""`python -m benchmarks.accounts`: what attackers could measure, and what logins cost others.

- Login, signup (protected) and forgotten password, for known and unknown addresses in turn: the
  medians must not tell them apart.
- `/health` while 16 logins run at once: bcrypt must not hold up the event loop.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter

import httpx

from benchmarks.report import percentile
from devserver.throwaway import running_server

KNOWN = "known@example.com"
PASSWORD = "correct horse battery staple"
LOGINS_AT_ONCE = 16

Attempt = Callable[[str], Awaitable[httpx.Response]]


async def compared(tries: int, attempt: Attempt) -> tuple[float, float]:
    """The median milliseconds for the known address and for unknown ones, in turn."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for number in range(tries):
        for known in (True, False):
            address = KNOWN if known else f"unknown{number}@example.com"
            started = perf_counter()
            await attempt(address)
            taken[known].append((perf_counter() - started) * 1000)
            await asyncio.sleep(0.05)  # for the mail's job, which runs after the answer
    return statistics.median(taken[True]), statistics.median(taken[False])


async def enumeration(client: httpx.AsyncClient, tries: int) -> None:
    async def log_in(address: str) -> httpx.Response:
        body = {"email": address, "password": "not the password"}
        return await client.post("/auth/login", json=body)

    async def forget(address: str) -> httpx.Response:
        return await client.post("/auth/password/forgot", json={"email": address})

    async def sign_up(address: str) -> httpx.Response:
        body = {"name": "Ada", "email": address, "password": PASSWORD}
        return await client.post("/auth/signup", json=body)

    await sign_up(KNOWN)
    print(f"medians of {tries} tries each, in turn      known ms   unknown ms   ratio")
    for name, attempt in (("login", log_in), ("forgot", forget), ("signup", sign_up)):
        known, unknown = await compared(tries, attempt)
        print(f"  {name:36} {known:10.1f} {unknown:12.1f} {known / unknown:7.3f}")


async def health_beside_logins(client: httpx.AsyncClient, seconds: float) -> None:
    async def keep_logging_in(until: float) -> int:
        count = 0
        while perf_counter() < until:
            body = {"email": KNOWN, "password": PASSWORD}
            await client.post("/auth/login", json=body)
            count += 1
        return count

    async def probe(until: float) -> list[float]:
        taken = []
        while perf_counter() < until:
            started = perf_counter()
            (await client.get(client.base_url.join("/health"))).raise_for_status()
            taken.append(perf_counter() - started)
            await asyncio.sleep(0.005)
        return taken

    alone = await probe(perf_counter() + seconds / 3)
    until = perf_counter() + seconds
    taken, *logins = await asyncio.gather(
        probe(until), *(keep_logging_in(until) for _ in range(LOGINS_AT_ONCE))
    )
    print("\n/health                                    p50 ms   p99 ms   probes")
    for name, probes in (("alone", alone), (f"beside {LOGINS_AT_ONCE} logins at once", taken)):
        p50, p99 = percentile(probes, 0.5), percentile(probes, 0.99)
        print(f"  {name:36} {p50:10.1f} {p99:8.1f} {len(probes):8}")
    print(f"  {sum(logins) / seconds:.1f} logins a second meanwhile")


async def measure(url: str, tries: int, seconds: float) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await enumeration(client, tries)
        await health_beside_logins(client, seconds)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args(arguments)
    with running_server(EMAIL_ENUMERATION_PROTECTION="true") as server:
        asyncio.run(measure(server.api_url, options.tries, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
