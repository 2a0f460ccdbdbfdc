"""The example graphs: joint extraction by NER, pairs and RE, in one process and in three, over REST and gRPC."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from google.protobuf import json_format

import knowledge_models as models
from infergraph.assembly import build_for_tasks
from infergraph.settings import RowMode, Settings
from infergraph.tasks.engines.rows import row_reader
from infergraph.unit_source import UnitSource
from infergraph.wire import prediction
from served import served

EXAMPLES = Path(__file__).parents[2] / "examples" / "knowledge"
CHINESE = [
    {"id": "一", "data": "《流浪地球》由郭帆执导，吴京主演。"},
    {"id": "二", "data": "华为技术有限公司总部设在深圳，创始人是任正非。"},
    {"id": "三", "data": "天气很好。"},
]
TRIPLES = [
    [("流浪地球", "导演", "郭帆"), ("流浪地球", "主演", "吴京")],
    [("华为技术有限公司", "总部地点", "深圳"), ("华为技术有限公司", "创始人", "任正非")],
    [],
]


def triples(row):
    """The triples of a row of JE."""
    pairs = zip(row["entity_pair"], row["relation"], strict=True)
    return [(head, relation, tail) for (head, tail), relation in pairs]


def ask(there, rows):
    """The rows that a graph answers to rows over REST."""
    reply = there.post("/api/v1.0/predictions", {"jsonData": rows})
    assert reply.status == 200, reply.body
    return reply.json["data"]["ndarray"]


@pytest.fixture(scope="module")
def flow():
    """The graph in one process."""
    models.weights()
    with served(str(EXAMPLES / "flow.yaml")) as there:
        yield there


def test_rows_over_rest(flow):
    """Rows in, rows of joint extraction out, each in its place with its own keys."""
    answers = ask(flow, CHINESE)
    assert [row["id"] for row in answers] == ["一", "二", "三"]
    assert [triples(row) for row in answers] == TRIPLES
    assert answers[0]["entity_type_pair"] == [["作品", "人物"], ["作品", "人物"]]


def test_one_record_over_rest(flow):
    """An object is answered with an object, and a text with a record."""
    for body in ({"jsonData": CHINESE[0]}, {"strData": CHINESE[0]["data"]}):
        reply = flow.post("/api/v1.0/predictions", body)
        assert triples(reply.json["jsonData"]) == TRIPLES[0]


def test_one_record_over_grpc(flow):
    """The same over gRPC."""
    request = json_format.ParseDict({"jsonData": CHINESE[0]}, prediction.SeldonMessage())
    answer = json_format.MessageToDict(flow.call("Seldon/Predict", request))
    assert triples(answer["jsonData"]) == TRIPLES[0]


def test_rows_over_grpc(flow):
    """Many rows over gRPC are answered in their order too."""
    request = json_format.ParseDict({"jsonData": CHINESE}, prediction.SeldonMessage())
    answer = json_format.MessageToDict(flow.call("Seldon/Predict", request))
    assert [triples(row) for row in answer["data"]["ndarray"]] == TRIPLES


def test_a_bad_record_is_named(flow):
    """A row without a text is the caller's fault: 400, and the text names the record and the key."""
    reply = flow.post("/api/v1.0/predictions", {"jsonData": [CHINESE[0], {"text": "x"}]})
    assert reply.status == 400
    assert "record 1: the key 'data' is missing" in reply.json["status"]["info"]


def test_split_over_the_network_by_configuration_alone(flow, tmp_path):
    """With its models behind the network, one over REST and one over gRPC, the graph answers the same."""
    split = (EXAMPLES / "flow-split.yaml").read_text(encoding="utf-8")
    with (
        served("infergraph_knowledge.chinese:ChineseNer") as ner,
        served("infergraph_knowledge.chinese:ChineseRe") as relations,
    ):
        for text, port in (
            ("httpPort: 9001", f"httpPort: {ner.http_port}"),
            ("grpcPort: 9501", f"grpcPort: {ner.grpc_port}"),
            ("httpPort: 9002", f"httpPort: {relations.http_port}"),
            ("grpcPort: 9502", f"grpcPort: {relations.grpc_port}"),
        ):
            assert split.count(text) == 1
            split = split.replace(text, port)
        (tmp_path / "split.yaml").write_text(split, encoding="utf-8")
        with served(str(tmp_path / "split.yaml")) as there:
            assert ask(there, CHINESE) == ask(flow, CHINESE)
        before, _, after = split.rpartition("type: REST")
        grpc = f"{before}type: GRPC{after}"
        assert grpc.count("type: GRPC") == 1
        (tmp_path / "mixed.yaml").write_text(grpc, encoding="utf-8")
        with served(str(tmp_path / "mixed.yaml")) as there:
            assert ask(there, CHINESE) == ask(flow, CHINESE)


def test_the_english_graph():
    """The same graph for English."""
    with served(str(EXAMPLES / "flow-en.yaml")) as there:
        answers = ask(there, ["Microsoft was founded by Bill Gates and Paul Allen.", "It rained."])
    assert [triples(row) for row in answers] == [
        [("Microsoft", "founded_by", "Bill Gates"), ("Microsoft", "founded_by", "Paul Allen")],
        [],
    ]


def test_the_graph_is_a_joint_extraction_endpoint_for_tasks():
    """Lines of a task go through the graph: a line of JE for each, and an error line in the place of a bad one."""
    models.weights()
    source = UnitSource(target=str(EXAMPLES / "flow.yaml"))
    lines = [json.dumps(row, ensure_ascii=False) for row in CHINESE]
    lines.insert(1, '{"id": "坏", "text": "没有"}')

    async def work():
        unit = build_for_tasks(msgspec.json.encode(source).decode(), Settings())
        await unit.start()
        try:
            return await row_reader(unit, RowMode.AUTO).answer(("\n".join(lines) + "\n").encode(), 1)
        finally:
            await unit.stop()

    done = asyncio.run(work())
    answers = [json.loads(line) for line in done.output.splitlines()]
    assert [answers[place]["id"] for place in (0, 2, 3)] == ["一", "二", "三"]
    assert [triples(answers[place]) for place in (0, 2, 3)] == TRIPLES
    assert answers[1] == {"error": {"line": 2, "reason": "the key 'data' is missing"}, "input": lines[1]}
    assert (done.lines, done.failed) == (4, 1)
