"""The Chinese text of new projects: each sentence of the templates, as it stands there, with its translation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

KINDS = {"model": "模型", "router": "路由器", "combiner": "组合器", "transformer": "转换器"}
"""What a project of our own is, as a whole text: the words stand in templates as well."""

CHINESE = {
    # every README
    "## Run": "## 运行",
    "## Test": "## 测试",
    "## Ship": "## 发布",
    "A ${task}. Edit `${method}` in `${module}.py`.": "一个${task}。请修改 `${module}.py` 中的 `${method}`。",
    "Ask it:": "发送请求：",
    "Submit a file as a task, one feature row a line:": "提交任务文件，每行一条特征：",
    "Check whether it does all that is asked of such an endpoint:": "检查它是否满足任务服务的全部要求：",
    "Serve it in a graph, over models:": "在推理图中运行，下接模型：",
    "Ask the graph:": "向推理图发送请求：",
    "Check whether it does all that tasks need, and whether it answers as a Seldon deployment does:": (
        "检查它是否满足任务服务的全部要求，以及是否像 Seldon 部署那样应答："
    ),
    "Where infergraph is on no package index, put its wheel into this folder; the commands find it there.": (
        "如果软件源中没有 infergraph，请把它的 wheel 文件放进本目录，下面的命令会找到它。"
    ),
    # the Dockerfile
    "# Tasks and their results live here: keep it on a volume and they survive the container.": (
        "# 任务及其结果存放在这里：放在卷上，容器删除后仍然保留。"
    ),
    "# The wheel of infergraph, if it lies here, is found before the package index is asked.": (
        "# 如果本目录有 infergraph 的 wheel 文件，则优先使用它。"
    ),
    # graphs
    "# ${name} over two models: infergraph serve graph.yaml": "# ${name}，下接两个模型：infergraph serve graph.yaml",
    "# ${name} before a model: infergraph serve graph.yaml": "# ${name}，后接一个模型：infergraph serve graph.yaml",
    # components
    "# each line of a task is one feature row": "# 任务的每一行是一条特征",
    "Read your model here: this runs once in every worker, before the first request.": (
        "在这里读取模型：每个工作进程在第一个请求之前执行一次。"
    ),
    "Read what you need here: this runs once in every worker, before the first request.": (
        "在这里读取所需的数据：每个工作进程在第一个请求之前执行一次。"
    ),
    "${name}: a model. Edit `load` and `predict`.": "${name}：一个模型。请修改 `load` 和 `predict`。",
    "A linear model: put your own in its place.": "一个线性模型：请换成您的模型。",
    "A score for each row; X has the axes (row, feature).": "每行一个分数；X 的轴为（行，特征）。",
    "The names of the answer's columns.": "应答各列的名称。",
    "What /metadata says of the model.": "/metadata 给出的模型信息。",
    "${name}: makes one answer of the answers of several models. Edit `aggregate`.": (
        "${name}：把多个模型的应答合并为一个。请修改 `aggregate`。"
    ),
    "The mean of all answers: put your own combination in its place.": "所有应答的平均值：请换成您的合并方式。",
    "One answer for the answers of all children, which come in the order of the graph.": (
        "把所有子节点的应答合并为一个；其顺序与推理图一致。"
    ),
    "${name}: sends each request to one of its children. Edit `route`.": (
        "${name}：把每个请求交给一个子节点。请修改 `route`。"
    ),
    "Sends requests with large values to the second child: put your own choice in its place.": (
        "把数值较大的请求交给第二个子节点：请换成您的选择规则。"
    ),
    "limit: a request whose mean is above it goes to the second child.": "limit: 平均值大于它的请求交给第二个子节点。",
    "The number of the child that answers: 0 for the first; -1 for all of them.": (
        "负责应答的子节点编号：0 为第一个，-1 为全部。"
    ),
    "A reward for an answer of child `routing`: learn from it here.": "子节点 `routing` 的应答得到的奖励：在这里学习。",
    "${name}: changes what goes into a model and what comes out. Edit the two methods.": (
        "${name}：处理模型的输入和输出。请修改这两个方法。"
    ),
    "Scales features on their way in and scores on their way out: put your own steps in their place.": (
        "缩放输入的特征和输出的分数：请换成您的步骤。"
    ),
    "What the model below is asked with.": "交给下级模型的内容。",
    "What is answered for what the model answered; used where the graph says OUTPUT_TRANSFORMER.": (
        "由模型的应答得到的最终应答；用于图中的 OUTPUT_TRANSFORMER。"
    ),
    # tests
    "${name} on its sample request.": "用示例请求测试 ${name}。",
    "${name} on its sample rows.": "用示例数据测试 ${name}。",
    "${name}: its choices, and what it learns.": "测试 ${name} 的选择和学习。",
    "The sample rows of tasks and the sample request get the same scores.": "任务的示例数据与示例请求得到相同的分数。",
    "The answer to the sample request is the mean of its messages.": "示例请求的应答是各消息的平均值。",
    "The sample request goes to the second child, a smaller one to the first.": (
        "示例请求交给第二个子节点，较小的请求交给第一个。"
    ),
    "A reward is added to the child that the request was sent to, and to no other.": (
        "奖励只记在收到该请求的子节点上。"
    ),
    "The sample request is scaled on its way in, and back on its way out.": "示例请求在输入时缩小，在输出时复原。",
    # what the command says
    "Now: {command}": "接下来：{command}",
}


def in_chinese(text: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """The text of a template with its sentences in Chinese, the longest first, since some begin like others.

    Args:
        more: other sentences with their translations.
    """
    if text in KINDS:
        return KINDS[text]
    known = {**CHINESE, **more}
    for sentence in sorted(known, key=len, reverse=True):
        text = text.replace(sentence, known[sentence])
    return text
