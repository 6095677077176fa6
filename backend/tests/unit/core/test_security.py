import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.core.errors import Unavailable
from app.core.security import _QUEUE_PER_THREAD, PasswordHasher


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    hasher = PasswordHasher(rounds=4, threads=1)
    yield hasher
    hasher.close()


@pytest.mark.parametrize(
    "password", ["correct horse", "", " ", "пароль", "🐎" * 1024, "x" * 4096, "x" * 72, "x" * 73]
)
async def test_a_password_matches_its_hash_and_no_other(
    hasher: PasswordHasher, password: str
) -> None:
    hashed = await hasher.hash(password)
    assert password not in hashed or not password.strip()
    assert await hasher.verify(password, hashed)
    assert not await hasher.verify(f"{password}x"[:4096].swapcase() + "y", hashed)
    assert await hasher.hash(password) != hashed


async def test_what_looks_the_same_is_the_same_password(hasher: PasswordHasher) -> None:
    composed, decomposed = "café", "cafe\u0301"
    for hashed in (await hasher.hash(composed), await hasher.hash(decomposed)):
        assert await hasher.verify(composed, hashed)
        assert await hasher.verify(decomposed, hashed)


async def test_a_hash_from_before_passwords_were_normalised_still_matches(
    hasher: PasswordHasher,
) -> None:
    decomposed = "cafe\u0301"
    old = hasher._context.hash(decomposed)
    assert await hasher.verify(decomposed, old)
    assert not await hasher.verify("cafe", old)


async def test_every_byte_counts_far_beyond_what_bcrypt_reads(hasher: PasswordHasher) -> None:
    hashed = await hasher.hash("x" * 99 + "a")
    assert not await hasher.verify("x" * 99 + "b", hashed)


@pytest.mark.parametrize("password", ["a\0b", "\0", "x" * 4097, "é" * 4097])
async def test_what_cannot_be_a_password_matches_nothing(
    hasher: PasswordHasher, password: str
) -> None:
    assert not await hasher.verify(password, await hasher.hash("a"))
    assert not await hasher.verify(password, None)


async def test_an_unknown_user_costs_the_same_work_and_never_matches(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = await hasher.hash("secret")
    verified: list[str] = []
    real = hasher._context.verify

    def verify(secret: str, against: str) -> bool:
        verified.append(against)
        return bool(real(secret, against))

    monkeypatch.setattr(hasher._context, "verify", verify)
    assert not await hasher.verify("nobody", None)  # though it is what the stand-in hashes
    assert not await hasher.verify("wrong", hashed)
    assert len(verified) == 2
    # The same scheme and cost: everything before the salt.
    assert (
        verified[0].rpartition("$")[0].rpartition("$")[0]
        == (verified[1].rpartition("$")[0].rpartition("$")[0])
    )


async def test_a_full_queue_refuses_work_and_drains(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(hasher._context, "hash", lambda secret: gate.wait() and secret)
    waiting = [asyncio.create_task(hasher.hash(str(n))) for n in range(_QUEUE_PER_THREAD)]
    await asyncio.sleep(0)  # lets them queue
    with pytest.raises(Unavailable) as refusal:
        await hasher.hash("one too many")
    assert int(refusal.value.headers["Retry-After"]) > 0
    gate.set()
    assert await asyncio.gather(*waiting) == [str(n) for n in range(_QUEUE_PER_THREAD)]
    assert await hasher.hash("again") == "again"


async def test_a_hash_runs_beside_the_loop(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hasher._context, "hash", lambda _: threading.current_thread().name)
    assert await hasher.hash("x") != threading.current_thread().name
