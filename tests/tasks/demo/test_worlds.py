"""What a demo's world consists of: nobody is asked or judged by a row that taught the base."""

from pathlib import Path

from tasks.config import load_config
from tasks.demo.worlds import make_world


def test_banking77_has_rows_of_its_own_for_base_golden_set_and_production(tmp_path: Path) -> None:
    for name, rows in (("train", 4_700), ("test", 3)):
        lines = [f"question {index},intent_{index % 7}" for index in range(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,category", *lines]) + "\n")
    world = make_world("banking77", tmp_path)
    parts = [
        {message[1]["content"] for message in messages}
        for messages in (
            world.conversations,
            [record["messages"] for record in world.given],
            world.windows[0].prompts,
        )
    ]
    assert [len(part) for part in parts] == [4_000, 600, 100]
    assert len(set.union(*parts)) == 4_700
    assert [record["messages"] for record in world.taught] == world.conversations


def test_banking77s_config_holds_nothing_out_as_anchor_that_taught_the_base() -> None:
    config = load_config("configs/banking77.yaml")
    paths = {source.name: getattr(source, "path", "") for source in config.sources}
    assert [paths[name] for name in config.split.taught] == [str(config.folder / "taught" / "*.jsonl")]
