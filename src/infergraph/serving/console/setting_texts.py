"""The Chinese help of each setting, by name; the English one is declared with the setting."""

from __future__ import annotations

CHINESE_SETTINGS = {
    "host": "监听的地址。",
    "http_port": "REST、任务和控制台的端口。",
    "grpc_port": "gRPC 的端口。",
    "grpc": "是否提供 gRPC。",
    "grpc_engine": "gRPC 服务器：`native`（pygrpc-native）、`grpcio`，或 `auto`（已安装的之中较快者）。",
    "metrics_port": "只提供指标的第二个端口。",
    "metrics_path": "指标在两个端口上的路径，以 `/` 开头。",
    "tls_cert": "证书及其证书链文件（PEM）：所有端口都改用 TLS。文件改变后重新读取。",
    "tls_key": "私钥文件（PEM）；与 tls_cert 同一文件时留空。",
    "tls_client_ca": "客户端证书的颁发机构文件（PEM）。客户端证书中的名称就是调用方的名称。",
    "tls_client_certificates": (
        "设置 tls_client_ca 时：没有证书的客户端被拒绝（`required`），或者可以改用密钥"
        "（`optional`；此时 gRPC 只接受密钥）。"
    ),
    "tls_client_scopes": "仅凭证书的客户端可以做什么：predict、feedback、tasks、console、metrics、admin，用逗号分隔。",
    "base_path": (
        "一个路径，例如 `/k/4f…`：一切都在其下提供，别处什么也没有；知道网址的人就可以调用。"
        "`auto` 生成一个并保存在 data_dir 中。空表示没有。"
    ),
    "keys": "密钥文件（TOML），由 `infergraph keys create` 生成：之后每个请求都需要密钥。空表示任何人都可以做任何事。",
    "oidc_issuer": "OpenID Connect 颁发者的网址，其令牌与密钥一样被接受（附加依赖 `oidc`）；公钥自动获取和更新。",
    "oidc_audience": "设置 oidc_issuer 时：令牌必须面向的受众。",
    "oidc_scopes_claim": "设置 oidc_issuer 时：含有权限的声明，为列表或以空格分隔的文字。",
    "oidc_leeway_s": "设置 oidc_issuer 时：允许的时钟误差。",
    "open_probes": "有密钥时：/live、/ready、/status 等探针是否对所有人开放。",
    "workers": "服务工作进程数；每个进程各加载一次组件。",
    "threads": "每个工作进程用于组件普通方法的线程数。",
    "execution": "组件的普通方法在哪里运行：独立线程（`thread`）或事件循环（`inline`）。",
    "batch_rows_limit": "组件忙时到达的预测请求合并为一次调用，每次最多这么多行；0 表示不合并。",
    "batch_wait_s": "空闲的组件等待更多请求以便合并的时间；0 表示不等待。",
    "gpus": (
        "分配给各工作进程的 GPU，依次各得一个，写入 `CUDA_VISIBLE_DEVICES`：`0,1`；`0+1,2+3` 表示每个进程两个；"
        "`all` 表示所有可见的 GPU 各一个。空表示每个进程都能看到全部 GPU。"
    ),
    "max_requests": "工作进程处理这么多请求后被替换；0 表示不替换。",
    "max_requests_jitter": "在 max_requests 上随机增加的最大请求数。",
    "rss_limit_bytes": "内存超过此值的工作进程被替换；0 表示不限制。",
    "grace_s": "收到 SIGTERM 后，留给正在处理的请求的时间。",
    "drain_delay_s": "停止时，服务器在未就绪状态下保持开放的时间。",
    "load_failure": "load() 抛出异常时：`exit`（退出码 3）或 `retry`（保持未就绪并按退避间隔重试）。",
    "load_wait_s": (
        "组件仍在加载时，请求最多等待多久才返回 503。`infergraph microservice` 默认等待 600 s，"
        "因为其调用方把端口开放视为就绪。"
    ),
    "watchdog_s": "事件循环停顿超过此时间的已就绪工作进程被替换；0 表示不检查。",
    "keepalive_s": "空闲 HTTP 连接的保持时间。",
    "message_limit_bytes": "REST 和 gRPC 请求的最大字节数；应答可以更大。",
    "bodies_limit_bytes": (
        "一个工作进程中处理中的请求体及其解析出的值总共占用的内存字节数，不小于单个消息的上限；"
        "超出时返回 503 和 Retry-After。单个消息的值最多占其八分之一，超出时返回 413；"
        "数值数组和文本不计入这一限制。0 表示不限制。"
    ),
    "concurrency_limit": "一个工作进程同时处理的请求数；超出时返回 503 和 Retry-After；0 表示不限制。",
    "request_timeout_s": "单个请求的最长时间；0 表示不限制。",
    "receive_timeout_s": (
        "HTTP 客户端发送请求时低于 1 KiB/s 的最长时间（之后返回 408），或不读取应答的最长时间；0 表示不限制。"
    ),
    "nan": "JSON 中的 NaN 和无穷大：`null`、`error`，或 `literal`（不是合法 JSON，与 Seldon 相同）。",
    "strict": "拒绝 Seldon 包装器放行的请求：调用组件没有的方法；并拒绝与元数据声明不符的 V2 张量。",
    "feature_names": "transform_input 的应答以组件的 feature_names() 作为列名。",
    "json_sort_keys": "对 JSON 应答的键排序。",
    "json_ascii": "把非 ASCII 文本写成 \\u 转义。",
    "json_pretty": "缩进 JSON 应答。",
    "payload_passthrough": "把原始请求体不经解码直接交给 predict。",
    "include_metrics_in_response": "把组件的指标放入 meta.metrics。",
    "cors_origins": "允许哪些来源的网页调用；`*` 表示任何来源。其他来源的网页被拒绝（403）。",
    "cors_headers": "允许网页发送的请求头；空表示任何请求头。",
    "parameters": "构造参数：由 {name, value, type} 组成的 JSON 列表。",
    "model_metadata": "合并到 init_metadata() 之上的 YAML 或 JSON。",
    "annotations_file": "Kubernetes downward API 的注解文件。",
    "model_control": (
        "能访问端口的人是否可以通过 `/v2/repository/models/…` 在所有工作进程中加载和卸载模型。"
        "开启后请求走较慢的路径，因为模型随时可能被替换。"
    ),
    "v2_server_name": "服务器在 `/v2` 元数据中的名称；Triton 的一些示例程序要求它为 `triton`。",
    "gateway_paths": "推理图也在 `/seldon/<namespace>/<name>/` 下应答，与入口网关相同。",
    "graph_meta": (
        "推理图是否把 routing、requestPath、tags、metrics 和 puid 合并到应答的 meta：`merge`、"
        "`pass`（最后一个节点的应答原样返回），或 `auto`（有节点在本进程运行时合并）。"
    ),
    "full_health_checks": "通过 HTTP 查询远程节点的健康状况，而不只检查端口是否开放。",
    "node_tls_ca": (
        "以 TLS 调用的远程节点的证书颁发机构文件（PEM）：`tls: true` 的端点，或 `--node NAME=https://…`。空表示系统的。"
    ),
    "node_tls_cert": "向这些节点出示的证书文件（PEM）。",
    "node_tls_key": "其私钥文件（PEM）；与 node_tls_cert 同一文件时留空。",
    "node_tls_name": "这些节点证书中的名称，也用作调用的名称；空表示其主机名。",
    "payload_log_url": "节点的 `logger` 没有给出 url 时，其载荷发送到这里。",
    "payload_log_share": "记录载荷的请求所占的比例；一个请求要么完整记录，要么不记录。",
    "payload_log_queue_limit": "等待记录的载荷的最大数量；超出的被丢弃并计数。",
    "payload_log_queue_limit_bytes": "等待记录的载荷的总字节数。",
    "payload_log_senders": "同时发送的载荷数。",
    "tracing": "为每个请求、每个节点和任务的每个分块生成跟踪 span，通过 OTLP 发送（需要 extra `otel`）。",
    "tracing_endpoint": "跟踪收集器的完整地址；空表示按 OTEL_EXPORTER_OTLP_ 变量。",
    "jaeger_host": "在 4318 端口接收 OTLP 的主机，仅在没有其他设置指明收集器时使用。",
    "console": "位于 /console 的网页控制台：`on`、`read-only`（只显示，不发送）或 `off`。接口本身不受影响。",
    "log_level": "DEBUG、INFO、WARNING 或 ERROR。",
    "log_format": "`human`、`json`，或 `auto`（在终端上为 human）。",
    "access_log": "每个请求记录一行。",
    "audit_log": (
        "每个改变了什么的操作（任务的提交、停止、删除，密钥的生成、收回，模型加载，重新加载，登录）写一行 JSON，"
        "含调用方、地址和结果：文件名，`-` 表示日志，空表示不写。"
    ),
    "user_metrics_series_limit": "一个工作进程中组件自定义指标的最大序列数；超出的被丢弃。",
    "data_dir": "存放重启后必须保留的全部数据的目录。",
    "tasks": "是否作为 gBuilder 任务服务应答。",
    "task_workers": (
        "处理任务的进程数，每个进程各加载一次组件：一个数，或 `min..max`，即在 task_finish_s 内完成所需的数目；"
        "0 表示由服务工作进程自己的组件应答，停止在当前分块结束时生效。"
    ),
    "task_finish_s": "当 task_workers=min..max 时，已知的工作应在这段时间内完成。",
    "task_idle_s": "任务进程在没有任务这么久之后退出；0 表示一直保留。",
    "task_engine": "任务进程在哪里运行：`local` 或 `ray`。",
    "task_ray_address": "`--task-engine ray` 使用的 Ray 集群；`local` 在本机启动一个。",
    "task_store": (
        "多台机器上的服务器共用的任务存储的 PostgreSQL URL, 例如 `postgresql://user:password@host/database`。"
        "空表示 data_dir 中的文件。"
    ),
    "task_files": "任务文件的目录，或对象存储的地址，例如 `s3://桶/目录`；"
    "使用 task_store 时所有机器上必须是同一个。空表示 data_dir。",
    "task_lease_s": "使用 task_store 时: 一台机器这么久没有心跳, 它的任务由另一台接手。",
    "task_queue_limit": "等待和运行中的任务数上限；超出时 /status 为 2。",
    "task_active_limit": "同时处理的任务数。",
    "task_upload_limit_bytes": "任务文件的最大字节数；0 表示不限制。",
    "task_disk_reserve_bytes": "磁盘上保留的空闲空间；低于此值时上传返回 507，任务暂停。",
    "task_rows": "每行如何交给组件：`object`、`instance`、`message`、`v2` 或 `auto`（由组件声明，否则为 object）。",
    "task_nan": "任务结果中的 NaN 和无穷大：`error`（该行失败）、`null` 或 `literal`（不是合法 JSON）。",
    "task_chunk_target_s": "分块的行数自动调整，使处理一块大约需要这么久。",
    "task_chunk_lines_limit": "一个分块的最大行数。",
    "task_attempts_limit": "单独一行最多导致进程终止多少次，之后该行单独失败。",
    "task_row_timeout_s": "单独一行的最长时间；0 表示不限制。",
    "task_timeout_s": "任务的最长工作时间；0 表示不限制。",
    "task_errors_limit": "失败的行达到这么多时任务失败；-1 表示不限制。",
    "task_immediate_means": "`immediate` 字段为 true 的含义：`async`（按规范）或 `sync`（按已发布的示例）。",
    "task_keep_s": "已结束的任务保留的时间；0 表示永久。",
    "task_keep_count": "已结束的任务最多保留的数量；0 表示不限制。",
    "task_keep_bytes": "已结束的任务最多占用的字节数；0 表示不限制。",
    "task_uris": "任务可以读写的地址前缀，以逗号分隔：`s3://桶/目录`、`https://主机`、`file:///目录`；"
    "`s3://*` 表示任何桶，`*` 表示除本机文件以外的任何地址；空表示不允许。",
    "task_webhook_hosts": "允许接收 webhook 的主机，以逗号分隔；空表示不允许，`*` 表示任何主机。",
    "task_webhook_secrets": "为 webhook 签名的密钥（Standard Webhooks），以逗号分隔；最好放在环境变量里。",
}
