"""Every packaged component of knowledge extraction: its own sentences answered exactly, and the one contract of all."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

import knowledge_models as models
from infergraph.component import Component, ComponentOptions, metadata
from infergraph.errors import MissingExtra, NotReady, SettingsError
from infergraph.message import Context, Encoding, Message, Method
from infergraph.wire import json_codec
from infergraph_knowledge import EntityRecord, RelationRecord
from infergraph_knowledge.candidates import CandidatePairs, RelatedPairs
from infergraph_knowledge.chinese import ChineseJe, ChineseNer, ChineseRe, MsraNer
from infergraph_knowledge.english import EnglishNer

LU_XUN = "鲁迅，原名周树人，1881年9月25日出生于浙江绍兴。"
EARTH = "《流浪地球》由郭帆执导，吴京主演。"
HUAWEI = "华为技术有限公司总部设在深圳，创始人是任正非。"
MARRIED = "杨绛的丈夫是著名学者钱钟书。"
WEATHER = "天气很好。"
CHINESE = [LU_XUN, EARTH, HUAWEI, MARRIED, WEATHER]
ENGLISH = [
    "Microsoft was founded by Bill Gates and Paul Allen.",
    "Angela Merkel was born in Hamburg.",
    "It rained.",
]

EVERY = {
    "chinese_ner": (models.chinese_ner, CHINESE),
    "msra_ner": (models.msra_ner, CHINESE),
    "chinese_re": (models.chinese_re, CHINESE),
    "chinese_je": (models.chinese_je, CHINESE),
    "english_ner": (models.english_ner, ENGLISH),
    "english_re": (models.english_re, ENGLISH),
    "english_je": (models.english_je, ENGLISH),
}


@pytest.fixture(params=EVERY)
def component_and_texts(request):
    """Each component with texts of its language."""
    load, texts = EVERY[request.param]
    return load(), texts


def entities(component, texts):
    """What NER finds in each text, as `text/type` words."""
    found = (EntityRecord.read(row).entities for row in component.predict(texts))
    return [" ".join(f"{entity.text}/{entity.type}" for entity in row) for row in found]


def triples(component, texts):
    """What JE finds in each text."""
    return [[triple[:3] for triple in RelationRecord.read(row).triples] for row in component.predict(texts)]


# ── the contract of all ─────────────────────────────────────────────────────────────────────────────────────────────


def rows_for(texts):
    """Rows that NER, RE and JE can all be asked with."""
    return [{"id": place, "data": text, "entity_pair": [[text[:2], text[-3:-1]]]} for place, text in enumerate(texts)]


def test_rows_keep_their_order_and_their_neighbours_do_not_matter(component_and_texts):
    """Many rows are answered as each alone, in their order, with the keys that they came with."""
    component, texts = component_and_texts
    rows = rows_for([*texts, "", texts[0] * 40, texts[1]])
    together = component.predict(rows)
    assert [row["id"] for row in together] == list(range(len(rows)))
    assert together == [component.predict(row) for row in rows]
    json.dumps(together, allow_nan=False)


def test_metadata_is_honest_and_fits_the_protocol(component_and_texts):
    """The metadata is allowed by the protocol and states labels, licence, limits and the pinned source of weights."""
    component, _ = component_and_texts
    assembled = metadata.assemble("", component.init_metadata(), "")
    metadata.check(assembled)
    assert {"task", "labels", "licence", "limits", "source"} <= assembled["custom"].keys()
    assert "sha256" in assembled["custom"]["source"]


def test_a_labelled_answer_is_among_the_stated_labels(component_and_texts):
    """A component answers no label that its metadata does not state."""
    component, texts = component_and_texts
    stated = set(component.init_metadata()["custom"]["labels"].split())
    for row in component.predict(rows_for(texts)):
        given = row["entity_type"] if component.task == "NER" else row["relation"]
        assert set(given) <= stated


def test_a_component_is_a_predictive_unit(component_and_texts):
    """Wrapped as a unit, a component answers JSON rows as it answers Python ones."""
    component, texts = component_and_texts
    rows = rows_for(texts)

    class Recorder:
        def validate(self, metrics):
            return metrics

        def record(self, metrics, method):
            pass

        def record_feedback(self, reward):
            pass

    async def ask():
        # Without its `load`, which has run already and takes a while.
        loaded = SimpleNamespace(predict=component.predict, init_metadata=component.init_metadata)
        unit = Component(lambda: loaded, ComponentOptions(), Recorder(), name="unit")
        await unit.start()
        try:
            return await unit.answer(Method.PREDICT, Message.of(rows, Encoding.JSON), Context())
        finally:
            await unit.stop()

    document = json.loads(json_codec.encode(asyncio.run(ask())))
    assert document["data"]["ndarray"] == component.predict(rows)


# ── Chinese ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_chinese_ner():
    """People, places, organizations, times and works of encyclopaedia sentences; also where LAC errs (周树人)."""
    assert entities(models.chinese_ner(), CHINESE) == [
        "鲁迅/人物 周树/人物 1881年9月25日/时间 浙江绍兴/地点",
        "流浪地球/作品 郭帆/人物 吴京/人物",
        "华为技术有限公司/机构 深圳/地点 任正非/人物",
        "杨绛/人物 钱钟书/人物",
        "",
    ]


def test_msra_ner():
    """The news tagger finds names of news sentences, and neither times nor titles."""
    news = ["国务院总理李鹏今天在北京会见了法国总统希拉克。", "新华社记者张三从上海报道。", WEATHER]
    assert entities(models.msra_ner(), news) == [
        "国务院/机构 李鹏/人物 北京/地点 法国/地点 希拉克/人物",
        "新华社/机构 张三/人物 上海/地点",
        "",
    ]


@pytest.mark.parametrize("means", ["both", "rules"])
def test_chinese_je(means):
    """Triples of encyclopaedia sentences, by patterns alone and with the model behind them."""
    assert triples(models.chinese_je(means), CHINESE) == [
        [("鲁迅", "出生日期", "1881年9月25日"), ("鲁迅", "出生地", "浙江绍兴")],
        [("流浪地球", "导演", "郭帆"), ("流浪地球", "主演", "吴京")],
        [("华为技术有限公司", "创始人", "任正非"), ("华为技术有限公司", "总部地点", "深圳")],
        [("杨绛", "丈夫", "钱钟书")],
        [],
    ]


def test_chinese_je_by_the_model_alone():
    """The model alone is precise on works and people, and blind to other sentences."""
    texts = [EARTH, "《三体》是刘慈欣创作的科幻小说，2008年由重庆出版社出版。", LU_XUN]
    assert triples(models.chinese_je("model"), texts) == [
        [("流浪地球", "导演", "郭帆"), ("流浪地球", "主演", "吴京")],
        [("三体", "作者", "刘慈欣"), ("三体", "出版社", "重庆出版社")],
        [],
    ]


def test_chinese_je_names_types():
    """Types of the entities come with the triples, in the words of NER."""
    assert models.chinese_je().predict({"data": EARTH})["entity_type_pair"] == [["作品", "人物"], ["作品", "人物"]]


def test_chinese_re():
    """Each pair has its relation or `unknown`; a pair that does not stand in the text is unknown."""
    pairs = [
        ["流浪地球", "郭帆"],
        ["流浪地球", "吴京"],
        ["郭帆", "吴京"],
        ["郭帆", "张三"],
        ["", "郭帆"],
        ["郭帆", "郭帆"],
    ]
    row = {"data": EARTH, "entity_pair": pairs}
    assert models.chinese_re().predict(row)["relation"] == ["导演", "主演", *["unknown"] * 4]
    assert models.chinese_re("model").predict(row)["relation"] == ["导演", "主演", *["unknown"] * 4]


def test_chinese_re_takes_the_types_that_are_given():
    """An entity that LAC does not know is what the caller says it is."""
    row = {"data": "叽里咕噜由哗啦啦执导。", "entity_pair": [["叽里咕噜", "哗啦啦"]]}
    assert models.chinese_re("rules").predict(row)["relation"] == ["unknown"]
    typed = {**row, "entity_type_pair": [["作品", "人物"]]}
    assert models.chinese_re("rules").predict(typed)["relation"] == ["导演"]


def test_long_texts_are_read_to_their_end():
    """A text of many thousand characters is cut into pieces and nothing of its end is lost."""
    filler = "天气很好，大家都很高兴。" * 700
    assert triples(models.chinese_je(), [filler + EARTH])[0] == [
        ("流浪地球", "导演", "郭帆"),
        ("流浪地球", "主演", "吴京"),
    ]


# ── English ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_english_ner():
    """People, places and organizations of plain sentences."""
    assert entities(models.english_ner(), ENGLISH) == [
        "Microsoft/organization Bill Gates/person Paul Allen/person",
        "Angela Merkel/person Hamburg/place",
        "",
    ]


def test_english_je():
    """Triples that the syntax shows, passives, lists and apposition included."""
    texts = [
        *ENGLISH,
        "Jeff Bezos, the founder of Amazon, was born in Albuquerque.",
        "Oracle moved its headquarters to Texas.",
    ]
    assert triples(models.english_je(), texts) == [
        [("Microsoft", "founded_by", "Bill Gates"), ("Microsoft", "founded_by", "Paul Allen")],
        [("Angela Merkel", "born_in", "Hamburg")],
        [],
        [("Amazon", "founded_by", "Jeff Bezos"), ("Jeff Bezos", "born_in", "Albuquerque")],
        [("Oracle", "headquarters", "Texas")],
    ]


def test_english_re():
    """Each given pair has the relation that the syntax shows, or `unknown`."""
    pairs = [["Microsoft", "Bill Gates"], ["Bill Gates", "Microsoft"], ["Bill Gates", "Paul Allen"]]
    answer = models.english_re().predict({"data": ENGLISH[0], "entity_pair": pairs})
    assert answer["relation"] == ["founded_by", "unknown", "unknown"]


# ── the units together ──────────────────────────────────────────────────────────────────────────────────────────────


def test_ner_pairs_and_re_make_joint_extraction():
    """NER, candidate pairs, RE and related pairs, one after the other, answer as rows of JE."""
    asked = CandidatePairs().transform_input(models.chinese_ner().predict([{"id": 9, "data": HUAWEI}, WEATHER]))
    answers = RelatedPairs(keep_entities=False).transform_output(models.chinese_re().predict(asked))
    assert answers == [
        {
            "id": 9,
            "data": HUAWEI,
            "entity_pair": [["华为技术有限公司", "深圳"], ["华为技术有限公司", "任正非"]],
            "entity_type_pair": [["机构", "地点"], ["机构", "人物"]],
            "relation": ["总部地点", "创始人"],
        },
        {"data": WEATHER, "entity_pair": [], "relation": []},
    ]


def test_a_component_that_is_not_loaded_says_so():
    """Asked before `load`, a component raises a fault that tells."""
    for component in (ChineseNer(), MsraNer(), ChineseJe(), EnglishNer()):
        with pytest.raises(NotReady, match="before it was loaded"):
            component.predict("x")


def test_wrong_parameters_are_told_at_construction():
    """A parameter outside its choices is named with the choices."""
    with pytest.raises(SettingsError, match="style is one of graph, corpus, not 'news'"):
        ChineseNer(style="news")
    with pytest.raises(SettingsError, match="means is one of both, rules, model, not 'magic'"):
        ChineseRe(means="magic")


def test_rules_alone_need_no_weights(tmp_path):
    """Patterns work without fetched weights; the model says what to run to get them."""
    rules = ChineseJe(means="rules", weights=str(tmp_path))
    rules.load()
    assert triples(rules, [MARRIED]) == [[("杨绛", "丈夫", "钱钟书")]]
    with pytest.raises(MissingExtra, match="infergraph knowledge fetch jiagu"):
        ChineseJe(weights=str(tmp_path)).load()
    with pytest.raises(MissingExtra, match="infergraph knowledge fetch msra"):
        MsraNer(weights=str(tmp_path)).load()
