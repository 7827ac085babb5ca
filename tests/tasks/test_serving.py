"""The server that production asks: the old adapter serves until the new one has answered, and no request fails."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.numpy import load_file

from tasks.adapters import CONFIG, WEIGHTS
from tasks.chat import Conversation
from tasks.config import Config
from tasks.db import State
from tasks.errors import FlywheelError
from tasks.serving import blank_adapter, mend, prove, served, switch
from tests.conftest import Workload, make_config, traffic
from tests.tasks.production import MODULE, Production, with_server, write_adapter
from tests.tasks.real_server import running_server
from tests.tasks.test_promote import MOVE
from tests.tasks.tiny import leaning_adapter

ASKED = Conversation([{"role": "user", "content": "c d e"}], None)


@pytest.fixture
def asked(production: Production, fresh_config: Config) -> Config:
    return with_server(fresh_config, production.address)


def test_a_version_is_asked_under_its_own_name_before_it_gets_the_stable_one(
    asked: Config, production: Production, tmp_path: Path
) -> None:
    old, new = (str(write_adapter(tmp_path / name, seed)) for seed, name in enumerate(("old", "new")))
    switch(asked, old, ASKED)
    production.server.asked.clear()
    switch(asked, new, ASKED)
    steps = [(path, body) for path, body, _ in production.server.asked if path != "/v1/models"]
    assert [path.rpartition("/")[2] for path, _ in steps] == [
        "load_lora_adapter", "completions", "load_lora_adapter", "unload_lora_adapter",
    ]  # fmt: skip
    own = steps[0][1]["lora_name"]
    assert own != "tickets" and steps[1][1]["model"] == own
    assert steps[2][1] == {"lora_name": "tickets", "lora_path": new, "load_inplace": True}
    assert production.names == {"tickets": new}
    assert served(asked) == new


def test_what_does_not_answer_leaves_the_old_one_serving_and_no_name_behind(
    asked: Config, production: Production, tmp_path: Path
) -> None:
    old, new = (str(write_adapter(tmp_path / name, seed)) for seed, name in enumerate(("old", "new")))
    switch(asked, old, ASKED)
    production.numberless.add(new)
    with pytest.raises(FlywheelError, match=r"answers with tokens without a probability under the adapter .*new"):
        switch(asked, new, ASKED)
    production.numberless.clear()
    production.refused.add(new)
    with pytest.raises(FlywheelError, match=r"does not load the adapter .*rank 64 is greater than max_lora_rank"):
        switch(asked, new, ASKED)
    assert production.names == {"tickets": old}


def test_a_version_can_be_proved_without_serving(asked: Config, production: Production, tmp_path: Path) -> None:
    old, new = (str(write_adapter(tmp_path / name, seed)) for seed, name in enumerate(("old", "new")))
    switch(asked, old, ASKED)
    prove(asked, new, ASKED)
    assert served(asked) == old


def test_a_server_that_reads_adapters_at_each_step_is_told_of(
    asked: Config, production: Production, tmp_path: Path
) -> None:
    first, second = (str(write_adapter(tmp_path / name, seed)) for seed, name in enumerate(("first", "second")))
    assert switch(asked, first, ASKED) is None  # a name that is new has no such flag
    remark = switch(asked, second, ASKED)
    assert remark is not None and "--middleware tasks.serving_middleware.ReadOnce" in remark
    assert switch(asked, second, ASKED) is None  # it serves already


def test_the_stable_name_can_be_chosen(production: Production, asked: Config, tmp_path: Path) -> None:
    named = asked.model_copy(update={"serving": asked.serving.model_copy(update={"name": "support"})})
    switch(named, str(write_adapter(tmp_path / "old")), ASKED)
    assert list(production.names) == ["support"]


def test_a_blank_adapter_has_the_same_shape_and_changes_nothing(tmp_path: Path) -> None:
    like = write_adapter(tmp_path / "like")
    blank = Path(blank_adapter(like, tmp_path / "blanks"))
    weights, zeros = load_file(like / WEIGHTS), load_file(blank / WEIGHTS)
    assert {name: part.shape for name, part in zeros.items()} == {name: part.shape for name, part in weights.items()}
    assert f"{MODULE}.lora_B.weight" in zeros and not any(part.any() for part in zeros.values())
    assert (blank / CONFIG).read_text() == (like / CONFIG).read_text()
    assert blank_adapter(like, tmp_path / "blanks") == str(blank)


@pytest.fixture
def promoted(workload: Workload) -> Workload:
    """Version 1 is the champion on record."""
    workload.collect("a", traffic(failures=5, successes=5))
    round_ = workload.to_gate(lambda role, case: True)
    workload.skip(round_, "gate")
    workload.register(round_, adapter=write_adapter(workload.folder / "adapter"))
    workload.close(round_, "promote", "1")
    with State(workload.config.database).transaction() as tx:
        tx.run("insert_promotion", event="moved", **MOVE)
    return workload


def test_a_server_that_was_started_anew_is_told_of_the_champion(promoted: Workload, production: Production) -> None:
    config = with_server(promoted.config, production.address)
    done = mend(config)
    assert done is not None and "served nothing as tickets, and now " in done
    assert production.names == {"tickets": str(promoted.folder / "adapter")}
    assert mend(config) is None


def test_a_move_that_is_on_its_way_is_left_alone(promoted: Workload, production: Production) -> None:
    with State(promoted.config.database).transaction() as tx:
        tx.run("insert_promotion", event="intended", **MOVE | {"move_id": "n", "to_version": None})
    assert mend(with_server(promoted.config, production.address)) is None
    assert production.names == {}


def test_before_any_promotion_the_server_is_left_alone(workload: Workload, production: Production) -> None:
    workload.collect("a", traffic(1))
    assert mend(with_server(workload.config, production.address)) is None
    assert production.names == {}


class Clients:
    """Threads that ask for the stable name all the time; every response that is not one is kept."""

    def __init__(self, address: str, number: int = 6) -> None:
        self._stop = threading.Event()
        self.answered = 0
        self.failed: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(address,)) for _ in range(number)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, address: str) -> None:
        with httpx.Client(base_url=address, timeout=60.0, trust_env=False) as client:
            while not self._stop.is_set():
                body = {"model": "tickets", "prompt": "c d e :", "max_tokens": 6, "ignore_eos": True}
                response = client.post("/v1/completions", json=body)
                if response.is_success and response.json()["choices"][0]["text"].strip():
                    self.answered += 1
                else:
                    self.failed.append(response.text)


def first_token(address: str, model: str) -> tuple[str, float]:
    body = {"model": model, "prompt": "c d e :", "max_tokens": 1, "temperature": 0.0, "logprobs": 1}
    answer: Any = httpx.post(f"{address}/v1/completions", json=body, timeout=60.0, trust_env=False).json()
    found = answer["choices"][0]
    return found["text"].strip(), found["logprobs"]["token_logprobs"][0]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_no_request_fails_while_a_real_server_is_switched_to_and_fro(tmp_path: Path) -> None:
    options = ("--max-loras", "3", "--middleware", "tasks.serving_middleware.ReadOnce")
    with running_server(tmp_path, *options) as (address, base):
        config = with_server(make_config(tmp_path), address)
        adapters = {letter: str(leaning_adapter(base, tmp_path / letter, letter)) for letter in "ab"}
        broken = write_adapter(tmp_path / "broken")
        switch(config, adapters["a"], ASKED)
        with Clients(address) as clients:
            for letter in "babab":
                assert switch(config, adapters[letter], ASKED) is None
                assert first_token(address, "tickets")[0] == letter
                with pytest.raises(FlywheelError):
                    switch(config, str(broken), ASKED)
                assert first_token(address, "tickets")[0] == letter
        assert clients.failed == []
        assert clients.answered > 50
        names = {model["id"] for model in httpx.get(f"{address}/v1/models", trust_env=False).json()["data"]}
        assert names == {str(base), "tickets"}
        _check_base_and_files(config, address, base, Path(adapters["b"]))


def _check_base_and_files(config: Config, address: str, base: Path, adapter: Path) -> None:
    """The stable name can stand for the bare base; and an adapter that serves is not read again."""
    switch(config, blank_adapter(adapter, config.folder / "serving"), ASKED)
    (blank, blank_logprob), (bare, bare_logprob) = first_token(address, "tickets"), first_token(address, str(base))
    assert blank == bare and math.isclose(blank_logprob, bare_logprob, abs_tol=1e-4)
    switch(config, str(adapter), ASKED)
    adapter.rename(adapter.with_name("away"))
    assert first_token(address, "tickets")[0] == "b"
