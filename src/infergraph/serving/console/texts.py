"""The console's texts in English and Chinese; the English text is the key of the translation."""

from __future__ import annotations

from infergraph.serving.console.setting_texts import CHINESE_SETTINGS

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
    "System colours": "跟随系统",
    "Dark": "深色",
    "The server is not responding.": "服务器没有应答。",
    "The page shows the last known state and retries automatically.": "这里显示的是之前的内容；页面会自动重试。",
    "This console is read-only.": "此控制台为只读：只显示，不发送任何请求。",
    "The setting is console=read-only.": "对应的设置是 console=read-only。",
    "API": "接口文档",
    "Metrics": "指标",
    # signing in
    "Sign in": "登录",
    "Sign out": "退出",
    "Key": "密钥",
    "A key with the scope `console`, made by `infergraph keys create`.": (
        "带有 `console` 权限的密钥，由 `infergraph keys create` 生成。"
    ),
    "This key is not valid.": "此密钥无效。",
    "This key lacks the scope console.": "此密钥没有 console 权限。",
    # overview
    "Requests are refused at the moment.": "目前的请求会被拒绝。",
    "The unit is still loading, or it failed to load; see the server's log.": (
        "组件仍在加载，或者加载失败；请查看服务器日志。"
    ),
    "Requests per second": "每秒请求数",
    "Median latency": "延迟中位数",
    "99th percentile": "99 分位延迟",
    "In progress": "正在处理",
    "Throughput": "吞吐量",
    "Latency": "延迟",
    "requests per second": "每秒请求数",
    "{what} over the last {time}, at most {top}": "最近 {time} 的{what}，最高 {top}",
    "at most {top}": "最高 {top}",
    "now": "现在",
    "Every node with its health and its figures of the last minute": "各节点的健康状况和最近一分钟的数值",
    "Runs": "运行位置",
    "No requests yet.": "还没有任何请求。",
    "No metadata: the unit is not loaded yet, or its metadata is not valid.": (
        "暂无元数据：组件尚未加载，或者元数据无效。"
    ),
    "Format": "整理格式",
    "Response": "应答",
    "ready": "就绪",
    "not ready": "未就绪",
    "These nodes are not responding: {names}.": "以下节点没有应答：{names}。",
    "{n} so far": "累计 {n}",
    "last minute": "最近一分钟",
    "{ready} of {n} workers loaded": "已加载 {ready} / {n} 个工作进程",
    "Inference graph": "推理图",
    "Component": "组件",
    "Figures of the last minute; shares since the start.": "数值取自最近一分钟，比例自启动起算。",
    "Picture of the graph": "推理图的图示",
    "Picture of the graph; the table below has the same figures": "推理图的图示；下表有同样的数值",
    "Nodes": "节点",
    "Node": "节点",
    "Health": "健康",
    "Requests/s": "请求/秒",
    "Errors": "错误",
    "errors": "错误",
    "Share": "占比",
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
    "External requests": "外部请求",
    "Requests by method and protocol": "按方法和协议统计的请求",
    "Method": "方法",
    "Protocol": "协议",
    "So far": "累计",
    "Versions and addresses": "版本与地址",
    "System": "系统",
    "Data folder": "数据目录",
    "Metadata": "元数据",
    "Settings in effect": "生效的设置",
    "{n} changed from the default": "{n} 项与默认值不同",
    "Settings changed from the default": "与默认值不同的设置",
    "All {n} settings": "全部 {n} 项设置",
    "All settings": "全部设置",
    "Setting": "设置",
    "Value": "值",
    "Default": "默认值",
    # try it
    "Send a request to what is served here. The page uses the public API; the same call is shown below as code.": (
        "向这里的服务发送请求。页面使用公开接口；下方给出同样调用的代码。"
    ),
    "The metadata is not available, so the form is a guess:": "目前取不到元数据，表单只是推测：",
    "Request": "请求",
    "Earlier requests": "之前的请求",
    "Request editor": "请求的写法",
    "Table": "表格",
    "Text": "文本",
    "Row": "行",
    "Column": "列",
    "Tensors": "张量",
    "Tensor": "张量",
    "Tensor {name}": "张量 {name}",
    "Remove tensor {name}": "删除张量 {name}",
    "Datatype": "数据类型",
    "Shape": "形状",
    "Elements, one a line": "元素，每行一个",
    "Elements, separated by commas": "元素，以逗号分隔",
    "{name}: the shape is whole numbers, separated by commas.": "{name}：形状由整数组成，以逗号分隔。",
    "{name}: the shape needs {wanted} elements, and there are {n}.": (
        "{name}：此形状需要 {wanted} 个元素，现有 {n} 个。"
    ),
    "Parameters": "参数",
    "No elements.": "没有元素。",
    "Sent as": "发送为",
    "Paste cells from a spreadsheet, or drop a CSV file here.": "可以粘贴电子表格的单元格，或把 CSV 文件拖到这里。",
    "The message as JSON": "JSON 形式的消息",
    "Send": "发送",
    "The response appears here, with its route through the graph and the time each node took.": (
        "应答会显示在这里，并附上它经过的节点和各节点的耗时。"
    ),
    "Same call as code": "同样的调用",
    "Language of the code": "调用所用的语言",
    "Copy": "复制",
    "Copied.": "已复制。",
    "Name of column {n}": "第 {n} 列的名称",
    "Remove row {n}": "删除第 {n} 行",
    "Row {row}, column {column}": "第 {row} 行，{column} 列",
    "A tensor holds only numbers; a table with text is sent as ndarray.": (
        "tensor 只能包含数字；表中有文字，因此按 ndarray 发送。"
    ),
    "There are no rows in this file.": "文件中没有数据行。",
    "Too many cells for the table; use JSON.": "内容太多，表格放不下；请使用 JSON。",
    "Each line is one record.": "每一行是一条单独的记录。",
    "Not valid JSON: line {line}, column {column}.": "还不是 JSON：第 {line} 行，第 {column} 列。",
    "Enter something first.": "请先输入内容。",
    "no response": "没有应答",
    "{n} items": "{n} 项",
    "Full response": "完整应答",
    "Values in the response": "应答中的数值",
    "Route": "经过的路径",
    "Time of each node itself, without its children.": "各节点自身的耗时，不含其下的节点。",
    "chosen": "选中",
    "No relations found.": "其中没有找到关系。",
    "Triples": "三元组",
    "Head": "头实体",
    "Relation": "关系",
    "Tail": "尾实体",
    "The triples as a graph; the table below lists them": "三元组的图示；下表有同样的内容",
    "Was this response good?": "这个应答好吗？",
    "Yes, reward 1": "好，奖励 1",
    "No, reward 0": "不好，奖励 0",
    "Reward {n} sent along the route of this response.": "谢谢：奖励 {n} 已沿应答的路径送达。",
    # what to do about faults
    "node {name}": "节点 {name}",
    "Page not found": "这里没有内容",
    "This page cannot be shown": "无法显示",
    "See the server's log for details.": "详情见服务器日志。",
    "Check that the server is running, then try again.": "请确认服务器仍在运行，然后重试。",
    "The server is busy or not ready; try again in a moment.": "服务繁忙或尚未就绪；请稍后重试。",
    "The request timed out; raise request_timeout_s, or send less at once.": (
        "耗时过长；请调高 request_timeout_s，或一次少发一些。"
    ),
    "Free disk space in the data folder, or delete old tasks.": "请清理数据目录所在的磁盘，或删除旧任务。",
    "Send less at once, or raise the limit named above.": "请一次少发一些，或调高上面提到的限制。",
    "Choose another name, or wait until the task has ended.": "请换一个名称，或等任务结束。",
    "It may have been deleted; go back to the list.": "它可能已被删除；请返回列表。",
    "The component, or something it calls, failed; see the server's log for details.": (
        "故障出在组件或其后端；详情见服务器日志。"
    ),
    "Correct the request; the message above says where.": "请修改请求：上面的文字指出了位置。",
    # tasks
    "A task is a file with one JSON record per line. Every line is answered in order, even if the server restarts.": (
        "任务是每行一条 JSON 记录的文件。每一行都会按顺序得到应答，即使服务器重启。"
    ),
    "New task": "新任务",
    "Drop a JSONL file here, or choose one": "把 JSONL 文件拖到这里，或点击选择",
    "It is streamed to disk; any size is fine.": "文件以流的方式写入磁盘，大小不限。",
    "The first lines": "前几行",
    "Name": "名称",
    "Line format": "每行如何交给组件",
    "server default": "按服务器设置",
    "Priority": "优先级",
    "Submit": "提交",
    "The file is empty; choose one with a record per line.": "文件是空的。请选择每行一条记录的文件。",
    "Line {n} is not JSON and would become an error line in the results. Is this a JSONL file?": (
        "第 {n} 行不是 JSON，在结果中会成为错误行。这是 JSONL 文件吗？"
    ),
    "Sent {done} of {total}": "已发送 {done} / {total}",
    "Upload complete; saving to disk.": "已收到，正在写入磁盘。",
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
    "position {n}": "第 {n} 位",
    "Newest": "最新",
    "Older": "更早",
    "No tasks.": "这里没有任务。",
    "Position {n} in the queue": "队列中第 {n} 位",
    "Paused: {why}": "已暂停：{why}",
    "about {time} left": "大约还需 {time}",
    "{done} of {total} lines": "{done} / {total} 行",
    "Stop": "停止",
    "Retry the {n} failed lines": "重试 {n} 条失败的行",
    "Retry the failed line": "重试失败的行",
    "Last error:": "最近的问题：",
    "Results": "结果",
    "Results so far": "目前的结果",
    "Failed lines": "失败的行",
    "Failed lines by their reason": "按原因统计的失败的行",
    "by reason": "按原因",
    "Delete": "删除",
    "Details": "详情",
    "Lines per second": "每秒行数",
    "Working time": "工作时间",
    "Size": "大小",
    "Chunks retried": "重做的分块",
    "Workers lost": "意外终止的进程",
    "Ended": "结束时间",
    "the first {n}": "前 {n} 条",
    "the first {n} lines": "前 {n} 行",
    "Line": "行号",
    "Reason": "原因",
    "Record": "记录",
    "First results": "最初的结果",
    "Stop this task?": "停止这个任务？",
    "Work stops at once; the task and its results so far are deleted.": (
        "它的工作立即结束，任务及目前的结果都会被删除。"
    ),
    "Stop it": "停止",
    "Keep it": "保留",
    "Delete this task?": "删除这个任务？",
    "Its file and results are deleted from disk.": "它的文件和结果会从磁盘上删除。",
    "Delete it": "删除",
    "The failed lines are being retried.": "正在重新处理失败的行。",
    # feedback
    "Rate a response. The reward follows its route through the graph, and learning routers send more requests to the "
    "better branch.": "评价一个应答。奖励沿应答经过的路径送达，会学习的路由器会把更多请求交给更好的分支。",
    "Branches of {router}": "{router} 的分支",
    "Branch": "分支",
    "Requests": "请求",
    "Rewarded": "已奖励",
    "90 % interval": "90% 可信区间",
    "does not learn": "不学习",
    "Estimated value of each branch; the table below has the numbers": ("对各分支价值的估计；具体数值见下表"),
    "No router is served here, so nothing learns from rewards. Components still receive them.": (
        "这里没有路由器，因此没有从奖励中学习的部分；组件仍会收到奖励，并可自行统计。"
    ),
    "Reward a response": "奖励一个应答",
    "Filled in from your last request on “Try it”.": "已填入您在“试一试”中的最近一次请求。",
    "Its response": "它的应答",
    "Reward: 0 is bad, 1 is good": "奖励：0 为差，1 为好",
    "Reward": "奖励",
    "Correct answer (JSON, optional)": "正确答案应是（JSON，可选）",
    "Send the reward": "发送奖励",
    "Sent: reward {n}.": "已发送：奖励 {n}。",
}

LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""The languages, each with its language tag for HTML."""


class Texts:
    """The texts of one language; called with an English text, returns the translation with its {names} filled in."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.tag = LANGUAGES[language]
        self._words = CHINESE if language == "zh" else {}

    def __call__(self, text: str, **values: object) -> str:
        words = self._words.get(text, text)
        return words.format(**values) if values else words

    def setting(self, name: str, help: str) -> str:
        """The help of a setting; `help` if it is not translated."""
        return CHINESE_SETTINGS.get(name, help) if self.language == "zh" else help

    def for_scripts(self) -> dict[str, str]:
        """The dictionary for scripts; empty for English."""
        return self._words


def preferred(accept_language: str) -> str:
    """The available language that a browser prefers; English if it accepts none.

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
