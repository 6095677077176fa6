"""`python -m benchmarks.accounts`: what attackers could measure, and what logins cost others.

- Login, signup (protected), forgotten password and verification, for what exists and for what does
  not, in turn and without pauses: the medians must not tell one from the other. Each address and
  each token is tried once, for what a second try finds may differ from what the first one found.
- `/health` while 16 logins run at once: bcrypt must not hold up the event loop.
"""

import argparse
import asyncio
import secrets
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

import asyncpg
import httpx

from app.auth.link_tokens import LinkTokens
from app.auth.models import Purpose
from app.config import Settings
from benchmarks.report import percentile
from devserver.throwaway import Server, running_server

KNOWN = "known@example.com"
PASSWORD = "correct horse battery staple"
LOGINS_AT_ONCE = 16
TOKEN_BYTES = 32

Attempt = Callable[[str], Awaitable[httpx.Response]]


async def compared(
    attempt: Attempt, known: Sequence[str], unknown: Sequence[str]
) -> tuple[float, float]:
    """The median milliseconds for what exists and for what does not, in turn.

    Raises:
        RuntimeError: they were not answered alike, so their times mean nothing.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    statuses = set()
    for pair in zip(known, unknown, strict=True):
        for times, named in zip(taken, pair, strict=True):
            started = perf_counter()
            answer = await attempt(named)
            times.append((perf_counter() - started) * 1000)
            statuses.add(answer.status_code)
    if len(statuses) > 1:
        raise RuntimeError(f"Answered with {sorted(statuses)}.")
    return statistics.median(taken[0]), statistics.median(taken[1])


async def enumeration(client: httpx.AsyncClient, server: Server, tries: int) -> None:
    async def log_in(address: str) -> httpx.Response:
        body = {"email": address, "password": "not the password"}
        return await client.post("/auth/login", json=body)

    async def forget(address: str) -> httpx.Response:
        return await client.post("/auth/password/forgot", json={"email": address})

    async def sign_up(address: str) -> httpx.Response:
        body = {"name": "Ada", "email": address, "password": PASSWORD}
        return await client.post("/auth/signup", json=body)

    async def verify(token: str) -> httpx.Response:
        return await client.post("/auth/verify-email", json={"token": token})

    known = [f"known{number}@example.com" for number in range(tries)]
    unknown = [f"unknown{number}@example.com" for number in range(tries)]
    for address in (KNOWN, *known):
        (await sign_up(address)).raise_for_status()
    used = [token for token in await mailed_tokens(server) if (await verify(token)).is_success]
    never_mailed = [secrets.token_urlsafe(TOKEN_BYTES) for _ in range(tries)]
    print(f"medians of {tries} tries each, in turn      known ms   unknown ms   ratio")
    for name, attempt, there, not_there in (
        ("login", log_in, known, unknown),
        ("password/forgot", forget, known, unknown),
        ("verify-email (used token)", verify, used[:tries], never_mailed),
        ("signup", sign_up, known, unknown),
    ):
        one, other = await compared(attempt, there, not_there)
        print(f"  {name:36} {one:10.1f} {other:12.1f} {one / other:7.3f}")


async def mailed_tokens(server: Server) -> list[str]:
    """Every token that was mailed to verify an address, made once more: no mail is read here."""
    environment = server.environment
    tokens = LinkTokens(Settings(_env_file=None, SECRET_KEY=environment["SECRET_KEY"]))
    connection = await asyncpg.connect(
        host=environment["POSTGRES_SERVER"],
        port=int(environment["POSTGRES_PORT"]),
        user=environment["POSTGRES_USER"],
        database=environment["POSTGRES_DB"],
    )
    try:
        links = await connection.fetch(
            "SELECT t.id, t.salt, u.email FROM one_time_tokens t JOIN users u ON u.id = t.user_id"
            " WHERE t.purpose = $1",
            Purpose.VERIFY_EMAIL.value,
        )
    finally:
        await connection.close()
    return [
        tokens.derive(Purpose.VERIFY_EMAIL, link["id"], link["salt"], link["email"])
        for link in links
    ]


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


async def measure(server: Server, tries: int, seconds: float) -> None:
    async with httpx.AsyncClient(base_url=server.api_url, timeout=60) as client:
        await enumeration(client, server, tries)
        await health_beside_logins(client, seconds)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args(arguments)
    with running_server(EMAIL_ENUMERATION_PROTECTION="true") as server:
        asyncio.run(measure(server, options.tries, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
