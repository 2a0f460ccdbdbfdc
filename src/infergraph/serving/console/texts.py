"""The console's words in English and Chinese. The English text is the key; Chinese stands beside it."""

from __future__ import annotations

CHINESE: dict[str, str] = {
    # every page
    "Skip to the content": "跳到正文",
    "Pages": "页面",
    "Overview": "概览",
    "Try it": "试一试",
    "Tasks": "任务",
    "Feedback": "反馈",
    "Language": "语言",
    "Colours": "配色",
    "Light": "浅色",
    "As the system": "跟随系统",
    "Dark": "深色",
    "The server does not answer.": "服务器没有应答。",
    "What you see is from before; the page tries again by itself.": "这里显示的是之前的内容；页面会自动重试。",
    "This console is read-only: it shows, and sends nothing.": "此控制台为只读：只显示，不发送任何请求。",
    "The setting is console=read-only.": "对应的设置是 console=read-only。",
    "API": "接口文档",
    "Metrics": "指标",
    # overview
    "ready": "就绪",
    "not ready": "未就绪",
    "Requests would be refused now.": "现在的请求会被拒绝。",
    "These nodes do not answer: {names}.": "以下节点没有应答：{names}。",
    "The unit is still loading, or could not be loaded; the server's log says which.": (
        "组件仍在加载，或者加载失败；请查看服务器日志。"
    ),
    "Requests a second": "每秒请求数",
    "Requests a second over the last minutes, at most {n}": "最近几分钟的每秒请求数，最高 {n}",
    "{n} so far": "累计 {n}",
    "Half are answered in": "半数请求耗时不超过",
    "99 of 100 in": "99% 的请求不超过",
    "last minute": "最近一分钟",
    "since the start": "启动以来",
    "Errors, last minute": "最近一分钟错误",
    "In work now": "正在处理",
    "{ready} of {n} workers loaded": "已加载 {ready} / {n} 个工作进程",
    "Inference graph": "推理图",
    "Component": "组件",
    "Figures of the last minute; shares since the start.": "数值取自最近一分钟，比例自启动起算。",
    "Picture of the graph": "推理图的图示",
    "Picture of the graph; the table below has the same figures": "推理图的图示；下表有同样的数值",
    "Nodes": "节点",
    "Every node with its health and figures": "各节点的健康状况和数值",
    "Node": "节点",
    "Answers": "由谁应答",
    "Health": "健康",
    "Requests/s": "请求/秒",
    "Errors": "错误",
    "errors": "错误",
    "Share": "占比",
    "a second": "每秒",
    "no requests yet": "尚无请求",
    "{n} requests so far": "累计 {n} 个请求",
    "in process": "本进程",
    "remote": "远程",
    "built-in": "内置",
    "ok": "正常",
    "faulty": "有故障",
    "unknown": "未知",
    "shadow": "影子",
    "fallback": "备用",
    "Requests from outside": "外部请求",
    "Requests by method and protocol": "按方法和协议统计的请求",
    "Method": "方法",
    "Protocol": "协议",
    "So far": "累计",
    "Nobody has asked yet.": "还没有任何请求。",
    "Be the first": "去发第一个",
    "Versions and addresses": "版本与地址",
    "System": "系统",
    "Data folder": "数据目录",
    "What it says of itself": "自述信息",
    "No metadata yet: the unit is not loaded, or it has none that is valid.": (
        "暂无元数据：组件尚未加载，或者没有有效的元数据。"
    ),
    "Metadata": "元数据",
    "Settings in force": "生效的设置",
    "{n} differ from their default": "{n} 项与默认值不同",
    "Settings that differ from their default": "与默认值不同的设置",
    "All {n} settings": "全部 {n} 项设置",
    "All settings": "全部设置",
    "Setting": "设置",
    "Value": "值",
    "Default": "默认值",
    # try it
    "Ask what is served here. The page calls the public API, as your own program would; the same call stands below "
    "to copy.": "向这里的服务提问。页面调用的是公开接口，与您自己的程序一样；下方有同样的调用可供复制。",
    "The metadata cannot be had now, so that the form is a guess:": "目前取不到元数据，表单只是推测：",
    "Request": "请求",
    "Earlier requests": "之前的请求",
    "How to write the request": "请求的写法",
    "Table": "表格",
    "Text": "文本",
    "Row": "行",
    "Column": "列",
    "Sent as": "发送为",
    "Paste cells from a spreadsheet anywhere in the table.": "可以把电子表格的单元格粘贴到表中任意位置。",
    "The message as JSON": "JSON 形式的消息",
    "Indent": "整理缩进",
    "Send": "发送",
    "Answer": "应答",
    "The answer will stand here, with its way through the graph and the time each node took.": (
        "应答会显示在这里，并附上它经过的节点和各节点的耗时。"
    ),
    "The same call": "同样的调用",
    "Language of the call": "调用所用的语言",
    "Copy": "复制",
    "Copied.": "已复制。",
    "Name of column {n}": "第 {n} 列的名称",
    "Remove row {n}": "删除第 {n} 行",
    "Row {row}, column {column}": "第 {row} 行，{column} 列",
    "A tensor holds numbers only; with words in it the table is sent as ndarray.": (
        "tensor 只能包含数字；表中有文字，因此按 ndarray 发送。"
    ),
    "That is too much for the table; use JSON.": "内容太多，表格放不下；请使用 JSON。",
    "Each line is a record of its own.": "每一行是一条单独的记录。",
    "This is no JSON yet: line {line}, column {column}.": "还不是 JSON：第 {line} 行，第 {column} 列。",
    "Write something first.": "请先输入内容。",
    "no answer": "没有应答",
    "The whole answer": "完整应答",
    "Values of the answer": "应答中的数值",
    "The way it took": "经过的路径",
    "Time of each node alone, without those below it.": "各节点自身的耗时，不含其下的节点。",
    "Other requests came at the same time, so that these are means.": "同时还有其他请求，因此这里是平均值。",
    "chosen": "选中",
    "No relation was found in it.": "其中没有找到关系。",
    "Triples": "三元组",
    "Head": "头实体",
    "Relation": "关系",
    "Tail": "尾实体",
    "The triples as a graph; the table below has the same": "三元组的图示；下表有同样的内容",
    "Was this answer good?": "这个应答好吗？",
    "Yes, reward 1": "好，奖励 1",
    "No, reward 0": "不好，奖励 0",
    "Thank you: the reward {n} went the way of the answer.": "谢谢：奖励 {n} 已沿应答的路径送达。",
    # what to do about faults
    "node {name}": "节点 {name}",
    "There is nothing here": "这里没有内容",
    "This cannot be shown": "无法显示",
    "The server's log has the details.": "详情见服务器日志。",
    "See whether the server still runs, then try again.": "请确认服务器仍在运行，然后重试。",
    "It is busy or not ready; try again in a moment.": "服务繁忙或尚未就绪；请稍后重试。",
    "It took too long; raise request_timeout_s, or send less at once.": (
        "耗时过长；请调高 request_timeout_s，或一次少发一些。"
    ),
    "Make room on the disk of the data folder, or delete old tasks.": "请清理数据目录所在的磁盘，或删除旧任务。",
    "Send less at once, or raise the limit that is named above.": "请一次少发一些，或调高上面提到的限制。",
    "Choose another name, or wait until the task has ended.": "请换一个名称，或等任务结束。",
    "It may have been deleted; go back to the list.": "它可能已被删除；请返回列表。",
    "The fault is in the component or behind it; the server's log has the details.": (
        "故障出在组件或其后端；详情见服务器日志。"
    ),
    "Mend the request: the text above names the place.": "请修改请求：上面的文字指出了位置。",
    # tasks
    "A task is a file with one JSON record on each line. Every line is answered, in order, also if the server stops "
    "on the way.": "任务是每行一条 JSON 记录的文件。每一行都会按顺序得到应答，即使服务器中途停止。",
    "New task": "新任务",
    "Drop a JSONL file here, or choose one": "把 JSONL 文件拖到这里，或点击选择",
    "It is streamed to the disk; its size is no matter.": "文件以流的方式写入磁盘，大小不限。",
    "The first lines": "前几行",
    "Name": "名称",
    "How a line reaches the unit": "每行如何交给组件",
    "as the server is set": "按服务器设置",
    "Priority": "优先级",
    "Submit": "提交",
    "The file is empty. Choose one with a record on each line.": "文件是空的。请选择每行一条记录的文件。",
    "Line {n} is no JSON: it would become an error line in the results. Is this a JSONL file?": (
        "第 {n} 行不是 JSON，在结果中会成为错误行。这是 JSONL 文件吗？"
    ),
    "Sent {done} of {total}": "已发送 {done} / {total}",
    "Received; writing it to the disk.": "已收到，正在写入磁盘。",
    "All tasks": "全部任务",
    "Name begins with": "名称开头",
    "State": "状态",
    "All": "全部",
    "waiting": "等待中",
    "running": "运行中",
    "finished": "已完成",
    "failed": "失败",
    "stopping": "正在停止",
    "Tasks, newest first": "任务，最新的在前",
    "Progress": "进度",
    "Progress of {id}": "{id} 的进度",
    "Lines": "行数",
    "Failed": "失败",
    "Lines/s": "行/秒",
    "Left": "剩余",
    "Submitted": "提交时间",
    "place {n}": "第 {n} 位",
    "Newest": "最新",
    "Older": "更早",
    "No task here.": "这里没有任务。",
    "Place {n} in the queue": "队列中第 {n} 位",
    "Paused: {why}": "已暂停：{why}",
    "about {time} left": "大约还需 {time}",
    "{done} of {total} lines": "{done} / {total} 行",
    "Stop": "停止",
    "Retry the {n} failed lines": "重试 {n} 条失败的行",
    "Retry the failed line": "重试失败的行",
    "Last trouble:": "最近的问题：",
    "Results": "结果",
    "Results so far": "目前的结果",
    "Failed lines": "失败的行",
    "Failed lines with their reasons": "失败的行及其原因",
    "Delete": "删除",
    "Details": "详情",
    "Lines a second": "每秒行数",
    "Time worked": "工作时间",
    "Size": "大小",
    "Chunks done again": "重做的分块",
    "Workers that died": "意外终止的进程",
    "Ended": "结束时间",
    "the first {n}": "前 {n} 条",
    "the first {n} lines": "前 {n} 行",
    "Line": "行号",
    "Reason": "原因",
    "Record": "记录",
    "First results": "最初的结果",
    "Stop this task?": "停止这个任务？",
    "Its work ends at once and the task is forgotten, its results so far too.": (
        "它的工作立即结束，任务及目前的结果都会被删除。"
    ),
    "Stop it": "停止",
    "Keep it": "保留",
    "Delete this task?": "删除这个任务？",
    "Its file and its results go from the disk.": "它的文件和结果会从磁盘上删除。",
    "Delete it": "删除",
    "The failed lines are worked on again.": "正在重新处理失败的行。",
    # feedback
    "Say how good an answer was. The reward goes the way the answer came, and routers that learn send more requests "
    "to the better branch.": (
        "评价一个应答的好坏。奖励沿应答经过的路径送达，会学习的路由器会把更多请求交给更好的分支。"
    ),
    "Branches of {router}": "{router} 的分支",
    "Branch": "分支",
    "Requests": "请求",
    "Rewarded": "已奖励",
    "With 90 % probability": "90% 可信区间",
    "it does not learn": "不学习",
    "What is believed of the value of each branch; the table below has the numbers": (
        "对各分支价值的估计；具体数值见下表"
    ),
    "No router is served here, so nothing learns from rewards; components still get them and may count them.": (
        "这里没有路由器，因此没有从奖励中学习的部分；组件仍会收到奖励，并可自行统计。"
    ),
    "Reward an answer": "奖励一个应答",
    "Filled in with your last request from “Try it”.": "已填入您在“试一试”中的最近一次请求。",
    "Its answer": "它的应答",
    "Reward: 0 is bad, 1 is good": "奖励：0 为差，1 为好",
    "Reward": "奖励",
    "What would have been right (JSON, optional)": "正确答案应是（JSON，可选）",
    "Send the reward": "发送奖励",
    "Sent: reward {n}.": "已发送：奖励 {n}。",
}

LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""Languages, with the tag that a page declares."""


class Texts:
    """Words in one language; called with an English text it gives that text, its {names} filled in."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.tag = LANGUAGES[language]
        self._words = CHINESE if language == "zh" else {}

    def __call__(self, text: str, **values: object) -> str:
        words = self._words.get(text, text)
        return words.format(**values) if values else words

    def for_scripts(self) -> dict[str, str]:
        """The dictionary that scripts look in; empty for English."""
        return self._words


def preferred(accept_language: str) -> str:
    """The language of ours that a browser likes best; English where it likes none.

    Source: RFC 9110, section 12.5.4.
    """
    best, weight = "en", 0.0
    for part in accept_language.split(","):
        tag, _, parameters = part.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(parameters)
        if language in LANGUAGES and quality > weight:
            best, weight = language, quality
    return best


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
