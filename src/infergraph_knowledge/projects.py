"""The projects of `infergraph init ner`, `re` and `je`."""

from __future__ import annotations

from importlib import resources

from infergraph.cli.projects import Project

CHINESE = {
    "A ${task} endpoint. The method to edit is `${method}` in `${module}.py`; the class around it does the rest.": (
        "一个${task}服务。需要修改的是 `${module}.py` 中的方法 `${method}`，其余由基类完成。"
    ),
    "Ask it one record, over REST:": "通过 REST 发送一条记录：",
    "Submit a file as a task, as gBuilder does, and fetch the results:": "像 gBuilder 那样提交任务文件，并取回结果：",
    "Check it as gBuilder would use it, before you register it in the model centre:": (
        "在模型中心注册之前，按 gBuilder 的用法检查一遍："
    ),
    "named entity recognition (NER)": "命名实体识别（NER）",
    "relation extraction (RE)": "关系抽取（RE）",
    "joint extraction (JE)": "联合抽取（JE）",
    "${name}: named entities. Edit `extract`: it is the one method that this endpoint needs.": (
        "${name}：命名实体。请修改 `extract`，这是唯一需要的方法。"
    ),
    "Finds the names of a list: put your model in its place.": "查找列表中的名称：请换成您的模型。",
    "knows three names": "只认识三个名称",
    "The entities of each text as (text, type), in the order in which they stand.": (
        "每段文本中的实体，形如（文本，类型），按出现的顺序。"
    ),
    "${name}: the relation of given pairs. Edit `relate`: it is the one method that this endpoint needs.": (
        "${name}：给定实体对的关系。请修改 `relate`，这是唯一需要的方法。"
    ),
    "Looks for a word between the two entities: put your model in its place.": "查找两个实体之间的词：请换成您的模型。",
    "knows three words": "只认识三个词",
    "The relation of each pair (`pair.head`, `pair.tail`, and their types where they were given).": (
        "每个实体对的关系（`pair.head`、`pair.tail`，以及给出的类型）。"
    ),
    "The relation of one pair, or `unknown`.": "一个实体对的关系；没有则为 `unknown`。",
    "${name}: triples. Edit `extract_relations`: it is the one method that this endpoint needs.": (
        "${name}：三元组。请修改 `extract_relations`，这是唯一需要的方法。"
    ),
    "Reads sentences like `法国的首都是巴黎`: put your model in its place.": (
        "识别“法国的首都是巴黎”这样的句子：请换成您的模型。"
    ),
    "knows one way to say three relations": "只认识三种关系的一种说法",
    "The triples of each text as (head, relation, tail), or with the types of head and tail behind them.": (
        "每段文本的三元组（头，关系，尾），其后可以附上头尾的类型。"
    ),
    "The sample rows are answered in their order, with their own keys and the entities of their texts.": (
        "示例数据按顺序得到应答，保留自己的字段，并附上文本中的实体。"
    ),
    "The sample rows are answered in their order, with their own keys and a relation for each pair.": (
        "示例数据按顺序得到应答，保留自己的字段，并附上每对的关系。"
    ),
    "The sample rows are answered in their order, with their own keys and the triples of their texts.": (
        "示例数据按顺序得到应答，保留自己的字段，并附上文本的三元组。"
    ),
}
"""The sentences of the templates, each as it stands there, with its translation."""

_TEMPLATES = resources.files("infergraph_knowledge") / "templates"


def _project(kind: str, task: str, method: str) -> Project:
    readme = _TEMPLATES / "README.md.template"
    return Project(task=task, method=method, templates=_TEMPLATES / kind, readme=readme, chinese=CHINESE)


NER = _project("ner", "named entity recognition (NER)", "extract")
RE = _project("re", "relation extraction (RE)", "relate")
JE = _project("je", "joint extraction (JE)", "extract_relations")
