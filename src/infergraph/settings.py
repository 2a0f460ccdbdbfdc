"""Every setting: its name, type, default, unit, limits, the environment names it is read from, and its help.

    defaults ─▶ environment ─▶ command line ─▶ Settings (frozen), with the origin of each value

Settings are read once, by the command line, and handed on as plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import msgspec

from infergraph.errors import SettingsError, did_you_mean
from infergraph.fast_enums import direct
from infergraph.worker_environment import SERVING_INDEX, TASK_INDEX

ENV_PREFIX = "INFERGRAPH_"
KEY_VARIABLE = "INFERGRAPH_KEY"
"""The environment variable with the key that our clients send; no setting."""


@direct
class NanPolicy(Enum):
    """What NaN and the infinities become in a JSON answer."""

    NULL = "null"
    ERROR = "error"
    LITERAL = "literal"


@direct
class Execution(Enum):
    """Where a component's plain (not async) methods run."""

    AUTO = "auto"
    INLINE = "inline"
    THREAD = "thread"


class LoadFailure(Enum):
    """What happens when `load()` raises."""

    EXIT = "exit"
    RETRY = "retry"


class GrpcEngine(Enum):
    """Which library runs the gRPC server."""

    AUTO = "auto"
    NATIVE = "native"
    GRPCIO = "grpcio"


class LogFormat(Enum):
    """How log lines are written."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"


class RowMode(StrEnum):
    """How a line of a task reaches the unit."""

    AUTO = "auto"
    OBJECT = "object"
    INSTANCE = "instance"
    MESSAGE = "message"
    V2 = "v2"
    REQUEST = "request"


class WorkerBounds(NamedTuple):
    """The least and the greatest number of task workers."""

    least: int
    most: int


class ImmediateMeans(Enum):
    """What a true `immediate` field of `POST /tasks` means."""

    ASYNC = "async"
    SYNC = "sync"


class ClientCertificates(Enum):
    """Whether clients have to show a certificate."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class ConsoleMode(Enum):
    """What the web console allows."""

    ON = "on"
    READ_ONLY = "read-only"
    OFF = "off"


class ModelControlMode(Enum):
    """Whether clients may load and unload the served model."""

    ON = "on"
    OFF = "off"


class GraphMeta(Enum):
    """Whether a graph joins routing, path, tags, metrics and puid into the `meta` of its answer."""

    AUTO = "auto"
    MERGE = "merge"
    PASS = "pass"


class TaskEngine(Enum):
    """Where the workers of tasks run."""

    LOCAL = "local"
    RAY = "ray"


def setting(
    help: str, *, env: tuple[str, ...] = (), unit: str = "", is_secret: bool = False, **limits: Any
) -> msgspec.Meta:
    """The declaration of a setting.

    Args:
        env: further environment variables besides `INFERGRAPH_<NAME>`.
        is_secret: whether its value is shown nowhere.
    """
    return msgspec.Meta(description=help, extra={"env": env, "unit": unit, "is_secret": is_secret}, **limits)


_NO_SETTINGS = frozenset({SERVING_INDEX, TASK_INDEX, KEY_VARIABLE})
_PORT = {"ge": 0, "le": 65535}
_WEBHOOK_SECRET = "whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}(==)?|[A-Za-z0-9+/]{3}=?)?"
"""A key of 24 to 65 bytes."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings, frozen. The annotations are the reference: `describe` reads them."""

    # listening
    host: Annotated[str, setting("Address to listen on.")] = "127.0.0.1"
    http_port: Annotated[
        int, setting("Port for REST, tasks and the console.", env=("PREDICTIVE_UNIT_HTTP_SERVICE_PORT",), **_PORT)
    ] = 9000
    grpc_port: Annotated[int, setting("Port for gRPC.", env=("PREDICTIVE_UNIT_GRPC_SERVICE_PORT",), **_PORT)] = 5000
    grpc: Annotated[bool, setting("Whether to serve gRPC at all.")] = True
    grpc_engine: Annotated[
        GrpcEngine, setting("gRPC server: `native` (pygrpc-native), `grpcio`, or `auto` for the faster one installed.")
    ] = GrpcEngine.AUTO
    metrics_port: Annotated[
        int,
        setting("A separate port for metrics.", env=("PREDICTIVE_UNIT_METRICS_SERVICE_PORT",), **_PORT),
    ] = 6000
    metrics_path: Annotated[
        str,
        setting(
            "Path of the metrics on both ports; it begins with `/`.",
            env=("PREDICTIVE_UNIT_METRICS_ENDPOINT",),
            pattern="^/",
        ),
    ] = "/metrics"

    # access
    tls_cert: Annotated[
        str,
        setting("File with the certificate and its chain (PEM): all ports then speak TLS. Read again when it changes."),
    ] = ""
    tls_key: Annotated[str, setting("File with the private key (PEM); empty if it is in tls_cert.")] = ""
    tls_client_ca: Annotated[
        str,
        setting(
            "File with the authorities of client certificates (PEM). The name in a client's certificate is the "
            "caller's name."
        ),
    ] = ""
    tls_client_certificates: Annotated[
        ClientCertificates,
        setting(
            "With tls_client_ca: whether a client without a certificate is refused (`required`), or may give a key "
            "instead (`optional`; over gRPC only keys then)."
        ),
    ] = ClientCertificates.REQUIRED
    tls_client_scopes: Annotated[
        str,
        setting(
            "What a client may do by its certificate alone: predict, feedback, tasks, console, metrics, admin, "
            "separated by commas."
        ),
    ] = "predict,feedback,tasks"
    base_path: Annotated[
        str,
        setting(
            "A path under which everything is served, nothing elsewhere, such as `/k/4f…`: whoever knows the URL may "
            "call. `auto` makes one and keeps it in data_dir. Empty: none.",
            pattern=r"^(auto|(/[A-Za-z0-9._~-]+)+)?$",
            is_secret=True,
        ),
    ] = ""
    keys: Annotated[
        str,
        setting(
            "File of keys (TOML), made by `infergraph keys create`: every request then needs a key. Empty: everybody "
            "may do everything."
        ),
    ] = ""
    oidc_issuer: Annotated[
        str,
        setting(
            "URL of an OpenID Connect issuer whose tokens are accepted like keys (extra `oidc`); its keys are fetched "
            "and kept up to date."
        ),
    ] = ""
    oidc_audience: Annotated[str, setting("With oidc_issuer: the audience that a token has to be for.")] = ""
    oidc_scopes_claim: Annotated[
        str,
        setting("With oidc_issuer: the claim with the scopes, a list or a text separated by blanks."),
    ] = "scope"
    oidc_leeway_s: Annotated[
        float, setting("With oidc_issuer: how much the clocks may differ.", unit="s", ge=0, le=300)
    ] = 30.0
    open_probes: Annotated[
        bool, setting("With keys: whether /live, /ready, /status and the like are answered to everybody.")
    ] = True

    # the process
    workers: Annotated[
        int, setting("Serving workers; each loads the unit once.", env=("GUNICORN_WORKERS",), ge=1, le=512)
    ] = 1
    threads: Annotated[
        int,
        setting("Threads of a worker for a component's plain methods.", env=("GUNICORN_THREADS",), ge=1, le=1024),
    ] = 1
    execution: Annotated[
        Execution,
        setting(
            "Where plain methods run: `thread` in a thread of the component's own, `inline` on the event loop, which "
            'they block, or `auto`: in a thread, unless the class declares `execution = "inline"`.'
        ),
    ] = Execution.AUTO
    batch_rows_limit: Annotated[
        int,
        setting(
            "Predictions that arrive while a component is busy are merged into calls of at most this many rows; "
            "0 for one call per request.",
            ge=0,
        ),
    ] = 0
    batch_wait_s: Annotated[
        float,
        setting(
            "How long an idle component waits for more requests to merge; 0 for not at all.", unit="s", ge=0, le=60
        ),
    ] = 0.0
    gpus: Annotated[
        str,
        setting(
            "GPUs assigned to the workers, one each in turn, as `CUDA_VISIBLE_DEVICES`: `0,1`; `0+1,2+3` gives two "
            "each, `all` each of those that are visible. Empty: every worker sees all."
        ),
    ] = ""
    max_requests: Annotated[
        int,
        setting("A worker is replaced after this many requests; 0 for never.", env=("GUNICORN_MAX_REQUESTS",), ge=0),
    ] = 0
    max_requests_jitter: Annotated[
        int,
        setting(
            "At most this many requests are added to max_requests at random.",
            env=("GUNICORN_MAX_REQUESTS_JITTER",),
            ge=0,
        ),
    ] = 0
    rss_limit_bytes: Annotated[
        int, setting("A worker above this memory is replaced; 0 for never.", unit="bytes", ge=0)
    ] = 0
    grace_s: Annotated[float, setting("How long requests may take to finish after SIGTERM.", unit="s", ge=0)] = 20.0
    drain_delay_s: Annotated[
        float, setting("How long a stopping server still accepts requests while not ready.", unit="s", ge=0)
    ] = 0.0
    load_failure: Annotated[
        LoadFailure, setting("When load() raises: `exit` with code 3, or `retry` with back-off while not ready.")
    ] = LoadFailure.EXIT
    load_wait_s: Annotated[
        float,
        setting(
            "How long a request waits for a unit that is still loading before it gets 503. "
            "`infergraph microservice` waits 600 s, since its callers treat an open port as ready.",
            unit="s",
            ge=0,
        ),
    ] = 0.0
    watchdog_s: Annotated[
        float,
        setting("A ready worker whose event loop is blocked for this long is replaced; 0 for never.", unit="s", ge=0),
    ] = 120.0
    keepalive_s: Annotated[
        float, setting("How long an idle HTTP connection is kept open.", env=("GUNICORN_KEEPALIVE",), unit="s", ge=0)
    ] = 75.0

    # limits
    message_limit_bytes: Annotated[
        int, setting("Largest request over REST and gRPC; an answer may be larger.", unit="bytes", ge=1024)
    ] = 64 * 1024 * 1024
    bodies_limit_bytes: Annotated[
        int,
        setting(
            "Bytes of memory that the bodies in work of a worker take together, with the values that are read of them, "
            "never less than one message's limit; above it 503 with Retry-After. The values of one message may take an "
            "eighth of it, above it 413; arrays of numbers and texts do not count for that. 0 for no limit.",
            unit="bytes",
            ge=0,
        ),
    ] = 1024 * 1024 * 1024
    concurrency_limit: Annotated[
        int, setting("Requests processed at once in a worker; above it 503 with Retry-After; 0 for no limit.", ge=0)
    ] = 1024
    request_timeout_s: Annotated[float, setting("Time limit of a request; 0 for no limit.", unit="s", ge=0)] = 0.0
    receive_timeout_s: Annotated[
        float,
        setting(
            "How long an HTTP client may fall behind 1 KiB/s while it sends a request (then 408), or may read nothing "
            "of its answer; 0 for no limit.",
            unit="s",
            ge=0,
        ),
    ] = 30.0

    # answers
    nan: Annotated[
        NanPolicy, setting("NaN and infinities in JSON: `null`, `error`, or `literal` (not valid JSON, as Seldon did).")
    ] = NanPolicy.NULL
    strict: Annotated[
        bool,
        setting(
            "Refuse calls to methods that the component lacks, which Seldon's wrapper accepts, and tensors of the open "
            "inference protocol that are not as the metadata declare them."
        ),
    ] = False
    feature_names: Annotated[
        bool, setting("Let transform_input answer with the component's feature_names() as column names.")
    ] = False
    json_sort_keys: Annotated[bool, setting("Sort the keys of JSON answers.", env=("FLASK_JSON_SORT_KEYS",))] = False
    json_ascii: Annotated[bool, setting("Write non-ASCII text as \\u escapes.", env=("FLASK_JSON_AS_ASCII",))] = False
    json_pretty: Annotated[bool, setting("Indent JSON answers.", env=("FLASK_JSONIFY_PRETTYPRINT_REGULAR",))] = False
    payload_passthrough: Annotated[
        bool, setting("Pass the raw, undecoded body to predict hooks.", env=("PAYLOAD_PASSTHROUGH",))
    ] = False
    include_metrics_in_response: Annotated[
        bool,
        setting("Include the component's metrics in meta.metrics.", env=("INCLUDE_METRICS_IN_CLIENT_RESPONSE",)),
    ] = True
    cors_origins: Annotated[
        str,
        setting(
            "Origins that a browser page may call from; `*` for any. Pages of others are refused (403).",
            env=("CORS_ALLOWED_ORIGINS",),
        ),
    ] = "*"
    cors_headers: Annotated[
        str, setting("Headers that a browser page may send; empty for any.", env=("CORS_ALLOWED_HEADERS",))
    ] = ""

    # the unit
    parameters: Annotated[
        str,
        setting("Constructor parameters: a JSON list of {name, value, type}.", env=("PREDICTIVE_UNIT_PARAMETERS",)),
    ] = "[]"
    model_metadata: Annotated[str, setting("YAML or JSON merged over init_metadata().", env=("MODEL_METADATA",))] = ""
    annotations_file: Annotated[str, setting("Kubernetes downward-API annotations.")] = "/etc/podinfo/annotations"

    # the open inference protocol
    model_control: Annotated[
        ModelControlMode,
        setting(
            "Whether anyone who reaches the port may load and unload the model at `/v2/repository/models/…`, in all "
            "workers. Requests then take a slower path, as the model may be replaced at any time."
        ),
    ] = ModelControlMode.OFF
    v2_server_name: Annotated[
        str, setting("The server's name in its metadata at `/v2`; some of Triton's example programs look for `triton`.")
    ] = "infergraph"

    # graphs
    gateway_paths: Annotated[
        bool,
        setting(
            "Serve a graph also under `/seldon/<namespace>/<name>/`, like an ingress, for callers that are "
            "written for one."
        ),
    ] = False
    graph_meta: Annotated[
        GraphMeta,
        setting(
            "Whether a graph joins routing, requestPath, tags, metrics and puid into the meta of its answer: `merge`, "
            "`pass` (the last node's answer is returned unchanged), or `auto`: merge if a node runs in this process."
        ),
    ] = GraphMeta.AUTO
    full_health_checks: Annotated[
        bool,
        setting(
            "Check the health of remote nodes over HTTP, and not only whether their port is open.",
            env=("FULL_HEALTH_CHECKS",),
        ),
    ] = False
    node_tls_ca: Annotated[
        str,
        setting(
            "File with the authorities of remote nodes called by TLS (PEM): an endpoint with `tls: true`, or "
            "`--node NAME=https://…`. Empty: the system's."
        ),
    ] = ""
    node_tls_cert: Annotated[str, setting("File with the certificate that is shown to such nodes (PEM).")] = ""
    node_tls_key: Annotated[str, setting("File with its private key (PEM); empty if it is in node_tls_cert.")] = ""
    node_tls_name: Annotated[
        str, setting("Name that such nodes have in their certificates, and are called by; empty for their hosts.")
    ] = ""
    payload_log_url: Annotated[
        str,
        setting("URL for the payloads of nodes whose `logger` has no url.", env=("REQUEST_LOGGER_DEFAULT_ENDPOINT",)),
    ] = "http://default-broker"
    payload_log_share: Annotated[
        float,
        setting("Share of the requests whose payloads are logged, all of a request's or none.", ge=0, le=1),
    ] = 1.0
    payload_log_queue_limit: Annotated[
        int, setting("Payloads that may wait to be logged; further ones are dropped and counted.", ge=1)
    ] = 10_000
    payload_log_queue_limit_bytes: Annotated[
        int, setting("Bytes of payloads that may wait to be logged.", unit="bytes", ge=1)
    ] = 256 * 1024 * 1024
    payload_log_senders: Annotated[int, setting("Payloads sent concurrently.", ge=1, le=256)] = 10

    # traces
    tracing: Annotated[
        bool,
        setting(
            "A trace span for each request, each node and each chunk of a task, sent by OTLP (extra `otel`).",
            env=("TRACING",),
        ),
    ] = False
    tracing_endpoint: Annotated[
        str,
        setting(
            "The collector's full URL for traces; empty to use the OTEL_EXPORTER_OTLP_ variables.",
            env=("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",),
        ),
    ] = ""
    jaeger_host: Annotated[
        str,
        setting(
            "Host that accepts OTLP on port 4318; used if nothing else names the collector.", env=("JAEGER_AGENT_HOST",)
        ),
    ] = ""

    # the console
    console: Annotated[
        ConsoleMode,
        setting(
            "The web console at /console: `on`, `read-only` (it shows and sends nothing), or `off`. "
            "The API itself is the same in all three."
        ),
    ] = ConsoleMode.ON

    # logs
    log_level: Annotated[
        str,
        setting(
            "DEBUG, INFO, WARNING or ERROR.", env=("SELDON_LOG_LEVEL",), pattern="(?i)^(debug|info|warn|warning|error)$"
        ),
    ] = "INFO"
    log_format: Annotated[LogFormat, setting("`human`, `json`, or `auto`: human on a terminal.")] = LogFormat.AUTO
    access_log: Annotated[bool, setting("A log line for each request.", env=("GUNICORN_ACCESS_LOG",))] = False
    audit_log: Annotated[
        str,
        setting(
            "Where a JSON line goes for each act that changes something (a task made, stopped, deleted, a key made, "
            "revoked, a model loaded, a reload, a sign-in), with caller, address and result: a file, `-` for the log, "
            "or empty for none."
        ),
    ] = ""
    user_metrics_series_limit: Annotated[
        int, setting("Maximum series of a component's own metrics in a worker; further ones are dropped.", ge=0)
    ] = 2000

    # data
    data_dir: Annotated[str, setting("Folder for everything that must survive a restart.")] = ".infergraph"

    # tasks
    tasks: Annotated[bool, setting("Whether to serve a gBuilder task endpoint.")] = True
    task_workers: Annotated[
        str,
        setting(
            "Processes for tasks, each with the unit loaded: a number, or `min..max`, as many as finish the work in "
            "task_finish_s. 0: the serving workers answer them with their own unit, and a stop takes effect at the "
            "end of a chunk.",
            pattern=r"^\d{1,3}(\.\.\d{1,3})?$",
        ),
    ] = "1"
    task_finish_s: Annotated[
        float,
        setting("With task_workers=min..max: within this time the known work should be finished.", unit="s", gt=0),
    ] = 60.0
    task_idle_s: Annotated[
        float, setting("Task workers exit after this long without a task; 0 to keep them.", unit="s", ge=0)
    ] = 300.0
    task_engine: Annotated[TaskEngine, setting("Where task workers run: `local` or `ray`.")] = TaskEngine.LOCAL
    task_ray_address: Annotated[
        str, setting("The Ray cluster for `--task-engine ray`; `local` starts one on this machine's loopback.")
    ] = "local"
    task_store: Annotated[
        str,
        setting(
            "PostgreSQL URL of the task store that servers on many machines share, such as "
            "`postgresql://user:password@host/database`. Empty: a file in data_dir.",
            is_secret=True,
        ),
    ] = ""
    task_files: Annotated[
        str,
        setting(
            "Folder of the task files, or an address in object storage such as `s3://bucket/folder`; with task_store "
            "the same one on all machines. Empty: data_dir."
        ),
    ] = ""
    task_lease_s: Annotated[
        float,
        setting("With task_store: a machine that is silent this long loses its tasks to another one.", unit="s", ge=1),
    ] = 15.0
    task_queue_limit: Annotated[int, setting("Tasks waiting or running; above it /status is 2.", ge=1)] = 1000
    task_active_limit: Annotated[int, setting("Tasks processed at once.", ge=1)] = 4
    task_upload_limit_bytes: Annotated[int, setting("Largest task file; 0 for no limit.", unit="bytes", ge=0)] = 0
    task_disk_reserve_bytes: Annotated[
        int, setting("Disk space to leave free; below it uploads get 507 and tasks pause.", unit="bytes", ge=0)
    ] = 256 * 1024 * 1024
    task_rows: Annotated[
        RowMode,
        setting(
            "How lines reach the unit: `object`, `instance`, `message`, `v2` (requests of the open inference "
            "protocol), `request` (to any served path, as in a file of OpenAI's Batch API), or `auto`: as the unit "
            "declares, else object."
        ),
    ] = RowMode.AUTO
    task_nan: Annotated[
        NanPolicy,
        setting(
            "NaN and infinities in results of tasks: `error` (the line fails), `null`, or `literal` (not valid JSON)."
        ),
    ] = NanPolicy.ERROR
    task_chunk_target_s: Annotated[
        float, setting("The size of chunks is adapted so that each takes about this long.", unit="s", gt=0)
    ] = 0.25
    task_chunk_lines_limit: Annotated[int, setting("Maximum rows of a chunk.", ge=1)] = 8192
    task_attempts_limit: Annotated[
        int, setting("Worker deaths that a single line may cause before it fails.", ge=1)
    ] = 2
    task_row_timeout_s: Annotated[float, setting("Time limit of a line; 0 for no limit.", unit="s", ge=0)] = 0.0
    task_timeout_s: Annotated[float, setting("Time limit of the work on a task; 0 for no limit.", unit="s", ge=0)] = 0.0
    task_errors_limit: Annotated[
        int, setting("Failed lines that a task may have; with more, it fails; -1 for no limit.", ge=-1)
    ] = -1
    task_immediate_means: Annotated[
        ImmediateMeans,
        setting("What a true `immediate` field means: `async` (the contract) or `sync` (the published example)."),
    ] = ImmediateMeans.ASYNC
    task_keep_s: Annotated[
        float, setting("Finished tasks older than this are pruned; 0 for never.", unit="s", ge=0)
    ] = 7 * 86400.0
    task_keep_count: Annotated[int, setting("Finished tasks kept at most; 0 for no limit.", ge=0)] = 0
    task_keep_bytes: Annotated[
        int, setting("Bytes of finished tasks kept at most; 0 for no limit.", unit="bytes", ge=0)
    ] = 0
    task_webhook_hosts: Annotated[
        str, setting("Hosts that webhooks may be sent to, separated by commas; empty for none, `*` for any.")
    ] = ""

    task_webhook_secrets: Annotated[
        str,
        setting(
            "Secrets that sign webhooks, `whsec_` and base64 each, separated by commas: every delivery is signed with "
            "each, by Standard Webhooks; better in the environment than on a command line.",
            pattern=rf"^({_WEBHOOK_SECRET}(,{_WEBHOOK_SECRET})*)?$",
            is_secret=True,
        ),
    ] = ""
    task_uris: Annotated[
        str,
        setting(
            "Addresses that tasks may read from and write to, as prefixes separated by commas: `s3://bucket/folder`, "
            "`https://host`, `file:///folder`; `s3://*` for any bucket, `*` for all but files of this machine; empty "
            "for none."
        ),
    ] = ""

    @property
    def task_worker_bounds(self) -> WorkerBounds:
        """How many task workers there may be; none at all if the serving workers answer tasks."""
        least, _, most = self.task_workers.partition("..")
        return WorkerBounds(int(least), max(int(least), int(most or least)))

    @property
    def asks_callers(self) -> bool:
        """Whether callers have to show who they are: by a key, a token or a certificate."""
        return bool(self.keys or self.tls_client_ca or self.oidc_issuer)


HIDDEN = "…"
"""Shown in the place of a secret."""

GROUPS = {
    "host": "Listening",
    "tls_cert": "Access",
    "workers": "Workers",
    "message_limit_bytes": "Limits",
    "nan": "Answers",
    "parameters": "Component",
    "model_control": "Open inference protocol",
    "gateway_paths": "Graphs",
    "tracing": "Tracing",
    "console": "Console",
    "log_level": "Logs and metrics",
    "data_dir": "Data",
    "tasks": "Tasks",
}
"""The groups of the settings in documents and `--help`, each by its first setting."""


class Described(NamedTuple):
    """A setting as shown by documents and `infergraph settings`."""

    name: str
    group: str
    type: str
    default: Any
    unit: str
    env: tuple[str, ...]
    help: str
    is_secret: bool = False


class Loaded(NamedTuple):
    """The settings and, for each, where its value came from."""

    settings: Settings
    origins: Mapping[str, str]


def describe() -> list[Described]:
    """Every setting, in the order of declaration."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = Settings()
    rows = []
    group = ""
    for name in Settings.__struct_fields__:
        group = GROUPS.get(name, group)
        kind, meta = get_args(hints[name])
        choices = [member.value for member in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
        extra = meta.extra or {}
        default = getattr(defaults, name)
        rows.append(
            Described(
                name=name,
                group=group,
                type="|".join(choices) or kind.__name__,
                default=default.value if isinstance(default, Enum) else default,
                unit=extra.get("unit", ""),
                env=(ENV_PREFIX + name.upper(), *extra.get("env", ())),
                help=meta.description or "",
                is_secret=extra.get("is_secret", False),
            )
        )
    return rows


def load(
    environment: Mapping[str, str], given: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> Loaded:
    """The settings from defaults, the environment and the command line.

    Args:
        environment: usually `os.environ`.
        given: values from the command line by setting name; None if not given.
        defaults: other defaults of this command, by setting name.
    Raises:
        SettingsError: an unknown `INFERGRAPH_` variable, or an invalid value; it names both.
    """
    described = describe()
    known = {name for row in described for name in row.env}
    for name in environment:
        if name.startswith(ENV_PREFIX) and name not in known and name not in _NO_SETTINGS:
            near = did_you_mean(
                name, (row.env[0] for row in described), cutoff=0.88
            )  # otherwise the common prefix makes all names similar
            raise SettingsError(
                f"the environment variable {name} is not a setting{near or ' (see `infergraph settings`)'}"
            )
    values: dict[str, Any] = dict(defaults or {})
    origins = {row.name: "default" for row in described}
    for row in described:
        for name in row.env:
            if environment.get(name, "") != "":
                values[row.name] = _convert(row, environment[name], name)
                origins[row.name] = f"environment {name}"
                break
        if given.get(row.name) is not None:
            values[row.name] = _convert(row, given[row.name], "--" + row.name.replace("_", "-"))
            origins[row.name] = "command line"
    return Loaded(Settings(**values), origins)


_OF_THE_FRONT = (
    "tls_cert", "tls_key", "tls_client_ca", "base_path", "keys", "oidc_issuer", "oidc_audience", "gateway_paths",
)  # fmt: skip
"""Settings of how clients call; the groups of a graph are called by each other."""


def of_group(settings: Settings) -> Settings:
    """The settings of a group's server, from those of the graph."""
    defaults = Settings()
    unset = {name: getattr(defaults, name) for name in _OF_THE_FRONT}
    return msgspec.structs.replace(settings, **unset, grpc=True, tasks=False, console=ConsoleMode.OFF)


TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE = frozenset({"0", "false", "f", "no", "n", "off", ""})


def read_bool(text: str) -> bool:
    """A boolean in any common spelling.

    Raises: ValueError for anything else.
    """
    word = text.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


_HINTS = get_type_hints(Settings, include_extras=True)
_NOUNS = {"int": "a whole number", "float": "a number", "str": "text"}
_LIMITS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"))


def _convert(row: Described, value: Any, source: str) -> Any:
    try:
        if row.type == "bool" and isinstance(value, str):
            return read_bool(value)
        return msgspec.convert(value, _HINTS[row.name], strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        is_alias = source in row.env[1:]
        named = f"{source} (the setting {row.name})" if is_alias else source
        given = "what it was given" if row.is_secret else repr(value)
        raise SettingsError(f"{named} takes {_wanted(row)}, not {given}{_meant(row, value)}") from error


def _wanted(row: Described) -> str:
    """The values of a setting, in words: `a whole number, at least 1, at most 512`."""
    if row.type == "bool":
        return "on or off"
    if "|" in row.type:
        return "one of " + ", ".join(row.type.split("|"))
    meta = get_args(_HINTS[row.name])[1]
    if meta.pattern is not None:
        return f"{_NOUNS[row.type]} ({row.help.rstrip('.')})"
    limits = [f"{words} {limit}" for name, words in _LIMITS if (limit := getattr(meta, name)) is not None]
    return ", ".join([f"{_NOUNS[row.type]}{f' ({row.unit})' if row.unit else ''}", *limits])


def _meant(row: Described, value: Any) -> str:
    return did_you_mean(str(value), row.type.split("|")) if "|" in row.type else ""
