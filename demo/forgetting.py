"""Forgets a person: withdraws consent, erases them, and verifies the receipt by a public key.

By a service of its own, which keeps users under pseudonyms: the demo's log trains beside tables with ids.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from demo.errors import DemoError
from demo.processes import free_port, run_command, running_server, service_command, service_environment
from demo.questions import choose_questions
from marquee.bundle.bundle import Bundle
from marquee.client import Client, ConsentRequest, RecommendAnswer, RecommendRequest, ServiceError

_PATIENCE_S = 10.0
# Until a worker has opened its store, its answers use nothing of anybody.
_N_TRIES, _PAUSE_S = 50, 0.1


def forget_a_person(console: Console, bundle: Bundle, folder: Path, k: int) -> list[str]:
    """Lets a user whom the release knows withdraw consent, and be erased.

    Args:
        console: Where it is told.
        bundle: Of the release.
        folder: Where keys, log and receipt go; it must not be there yet.
        k: How many items are asked for.

    Returns:
        Reasons why an answer makes no sense; none if they do.

    Raises:
        DemoError: If the service does not take part, or the receipt is not verified.
    """
    key, own = _settings(folder)
    environment = {**service_environment(bundle.path), **own}
    question = next(one for one in choose_questions(bundle, k) if one.user_id in bundle.user_ids)
    user_id, asked = question.user_id or "", question.request()
    url = f"http://127.0.0.1:{(port := free_port())}"
    with (
        running_server(service_command(port), environment, url, folder / "service.log"),
        Client(url, key=key, deadline_s=_PATIENCE_S) as client,
    ):
        try:
            answers = [_personal(client, asked)]
            client.put_consent(user_id, ConsentRequest(tier="none"))
            answers.append(client.recommend(asked))
            client.put_consent(user_id, ConsentRequest(tier="personal"))
            answers.append(client.recommend(asked))
            client.erase_user(user_id)
            answers.append(client.recommend(asked))
            # A second is enough where nobody has a row in hand any more.
            time.sleep(1.0)
            run_command("the pass", ["-m", "serving.erase", "settle_s=1"], environment=environment)
            receipt = client.receipt(user_id)
        except ServiceError as error:
            raise DemoError(f"the service did not forget: {error}") from error
    told = zip(("at first", "without consent", "with consent", "erased"), answers, strict=True)
    words = ", ".join(f"{when} {answer.tier} ({answer.source})" for when, answer in told)
    console.print(f"answers to {escape(user_id)}: {words}", highlight=False)
    (folder / "receipt.json").write_bytes(msgspec.json.encode(receipt))
    verify = ["verify", f"receipt={folder / 'receipt.json'}", f"key={folder / 'receipts.pub'}"]
    run_command("the verification", ["-m", "serving.receipts", *verify])
    tiers = [answer.tier for answer in answers]
    expected = ["personal", "none", "personal", "none"]
    return [] if tiers == expected else [f"answers must have tiers {expected}, got {tiers}"]


def _settings(folder: Path) -> tuple[str, Mapping[str, str]]:
    """Makes the keys; returns that of a caller, and the settings of the service."""
    folder.mkdir(parents=True)
    run_command("the user key", ["-m", "serving.make_user_key", f"path={folder / 'users'}"])
    run_command("the key for receipts", ["-m", "serving.receipts", "make_key", f"path={folder / 'receipts'}"])
    key = secrets.token_urlsafe(32)
    entry = {
        "name": "demo",
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "scopes": ["recommend", "users"],
    }
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [entry]}), encoding="utf8")
    return key, {
        "MARQUEE_KEYS": str(keys),
        "MARQUEE_EVENTS": str(folder / "events"),
        "MARQUEE_USER_KEY": str(folder / "users"),
        "MARQUEE_RECEIPT_KEY": str(folder / "receipts"),
        "MARQUEE_WORKERS": "1",
    }


def _personal(client: Client, asked: RecommendRequest) -> RecommendAnswer:
    """Returns the first answer that knows the user."""
    answer = client.recommend(asked)
    for _ in range(_N_TRIES):
        if answer.tier == "personal":
            break
        time.sleep(_PAUSE_S)
        answer = client.recommend(asked)
    return answer
