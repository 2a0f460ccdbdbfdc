"""A component as a predictive unit.

    answer(method) ─▶ its runner (thread or inline) ─▶ deprecated hook | raw hook | plain hook | the protocol's default
                                                        ─▶ answers: payload, names, meta ─▶ Message

There is one implementation for plain and async hooks: a coroutine that awaits only what is async, and that a runner
runs to completion where nothing is.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, Protocol, TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace

from infergraph.component import exceptions, hooks, results
from infergraph.component import metadata as model_metadata
from infergraph.component.execution import ComponentThread, OwnLoop, is_inline
from infergraph.component.hooks import Hook, MethodHooks
from infergraph.component.isolation import NodeScope
from infergraph.component.results import Own, Returned
from infergraph.component.streaming import Asked, Streams, only_item
from infergraph.errors import BadMetadata, ComponentError, Fault, MethodMissing, PayloadError, TargetError
from infergraph.message import (
    Answers,
    Content,
    Context,
    Encoding,
    Feedback,
    Message,
    Meta,
    Method,
    PredictiveUnit,
    Request,
    SoleMessage,
    Transport,
    UnitFacts,
)
from infergraph.request import CONTEXT
from infergraph.runner import INLINE, Runner, drive
from infergraph.settings import Execution
from infergraph.wire import json_codec, proto_codec, raw_hooks
from infergraph.wire.private_copies import own_content, own_names
from infergraph.wire.v2 import hook_values, messages
from infergraph.wire.v2.hook_values import Wanted
from infergraph.wire.wire_message import is_larger

T = TypeVar("T")

_log = logging.getLogger(__name__)

_LARGE_BYTES = 256 * 1024
"""Decoding a message larger than this takes milliseconds."""

_METRIC_METHODS = {
    Method.PREDICT: "predict",
    Method.TRANSFORM_INPUT: "inputtransform",
    Method.TRANSFORM_OUTPUT: "outputtransform",
    Method.ROUTE: "router",
    Method.AGGREGATE: "aggregate",
    Method.SEND_FEEDBACK: "feedback",
}
_NO_SCOPE = nullcontext()
_METRIC_TYPES = ("COUNTER", "GAUGE", "TIMER")
_HEALTH_WAIT_S = 0.5


class Recorder(Protocol):
    """Records a component's own metrics."""

    def validate(self, metrics: object) -> list[dict[str, Any]]:
        """The metrics as a list of dicts; BadMetric if they are not."""

    def record(self, metrics: list[dict[str, Any]], method: str) -> None:
        """Record them; `method` is the protocol's label."""

    def record_feedback(self, reward: float) -> None:
        """Record a reward."""


RequestScope = Callable[[Context, Any], "AbstractContextManager[Any] | None"]
"""The context manager that hooks are called in, in addition to the current request; None for none."""

ErrorHandler = Callable[[object, Exception], "tuple[int, bytes, Mapping[str, str]] | None"]
"""The user's own error handlers: (blueprint, exception) to status, body and headers, or None if none fits."""


class ComponentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a component.

    Args:
        unit_id: the unit's name in its graph; key of requestPath and of the recorded route; empty if it has none.
        image: the container image, `name:version`; value of requestPath.
        label: value of requestPath where there is no image; empty to leave requestPath to the graph around it.
        execution: where plain (not async) methods run: inline or in a thread.
        threads: the number of threads, if they run in threads.
    """

    unit_id: str = ""
    image: str = ""
    label: str = "NOT_IMPLEMENTED:NOT_IMPLEMENTED"
    include_metrics: bool = True
    count_feedback: bool = True
    strict: bool = False
    feature_names: bool = False
    payload_passthrough: bool = False
    execution: Execution = Execution.AUTO
    threads: int = 1
    model_metadata: str = ""


class Component(PredictiveUnit):
    """A user's object as a predictive unit; `make` constructs it in `start`, and no user code runs before.

    Args:
        thread: where plain code runs, if not inline; a new thread by default.
    Promises: hooks are looked up once; a hook is called once per request; plain code is constructed, loaded and asked
    in the same thread, and with one thread (the default) no two calls of it overlap.
    """

    def __init__(
        self,
        make: Callable[[], object],
        options: ComponentOptions,
        recorder: Recorder,
        *,
        name: str = "",
        error_handler: ErrorHandler | None = None,
        request_scope: RequestScope = lambda context, request: None,
        scope: NodeScope | None = None,
        thread: ComponentThread | None = None,
    ) -> None:
        self.name = name or options.unit_id or "component"
        self._scope = scope
        self._make = make
        self._options = options
        self._recorder = recorder
        self._error_handler = error_handler
        self._request_scope = request_scope
        self._thread = thread or ComponentThread(self.name, options.threads)
        if scope is not None:
            self._thread.enter_with(scope.enter_thread)
        self._runner: Runner = self._thread
        self._holds_thread = False
        self._own_loop: OwnLoop | None = None
        self._table: dict[Method, MethodHooks] = {}
        self._driven: frozenset[Method] = frozenset()
        self._awaits_inline = False
        self._user: Any = None
        self._last_health = Message.of("healthy", Encoding.STR)
        self._wanted = hook_values.PLAIN
        self._predict_v2: Hook | None = None
        self._predict_stream: Hook | None = None
        self._only_streams = False
        self._streams: Streams | None = None
        self._metadata: dict[str, Any] | BadMetadata = BadMetadata("Model metadata unavailable")
        label = options.image or options.label
        self._no_own = Own(None, (), {options.unit_id: label}) if options.unit_id and label else results.NOTHING

    # ── start and stop ──────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Construct the user's object, load it, and look up its hooks.

        Raises: StartupFault, also for what the user's module or constructor raises; whatever `load()` raises.
        """
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        if self._options.execution is Execution.INLINE:
            self._runner = INLINE
            self._own_loop = OwnLoop()
        else:
            self._runner = self._thread
            self._hold_thread()
        async with nullcontext() if self._scope is None else self._scope.loading():
            await self._runner.call(self._construct)
            if is_inline(self._options.execution, type(self._user)):
                self._runner = INLINE
                self._let_go_of_thread()
            load = hooks.single(self._user, "load")
            if load is not None:
                await (load.call() if load.is_async else self._runner.call(functools.partial(self._load, load)))
        self._awaits_inline = self._has_async_sides and self._runner is INLINE
        if not self._awaits_inline:
            self._driven = frozenset(method for method, found in self._table.items() if not found.is_async)
        if self._predict_stream is not None:
            self._streams = Streams(self, self._predict_stream, None if self._awaits_inline else self._runner)
        self._tell_shortcomings()
        self._metadata = await self._read_metadata()
        self._wanted = self._declared_wants()

    def _hold_thread(self) -> None:
        if not self._holds_thread:
            self._holds_thread = True
            self._thread.start()

    def _let_go_of_thread(self) -> None:
        if self._holds_thread:
            self._holds_thread = False
            self._thread.stop()

    def _construct(self) -> None:
        try:
            user = self._make()
        except Fault:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {exceptions.text_of(error)}{self._hint_of(error)}"
            raise TargetError(f"{self.name} cannot be constructed: {text}") from error
        self._table = hooks.visit(user)
        if any(found.raw or found.grpc for found in self._table.values()):
            raw_hooks.user_messages()  # imported now, since it may import TensorFlow: no request should wait for that
        self._tags = hooks.single(user, "tags")
        self._metrics = hooks.single(user, "metrics")
        self._predict_v2 = hooks.single(user, "predict_v2")
        self._predict_stream = hooks.stream(user)
        predict = self._table[Method.PREDICT]
        self._only_streams = self._predict_stream is not None and predict.plain is None and not predict.is_raw
        if self._predict_stream is not None and self._only_streams:
            self._table[Method.PREDICT] = only_item(self._predict_stream)
        self._adds = self._tags is not None or self._metrics is not None
        sides = (self._tags, self._metrics, hooks.single(user, "class_names"))
        self._has_async_sides = any(hook is not None and hook.is_async for hook in sides)
        self._user = user
        if all(found.plain is None and not found.is_raw for found in self._table.values()):
            _log.warning("%s has none of the protocol's methods; predict will answer an empty array", self.name)

    def _declared_wants(self) -> Wanted:
        """How the class and its metadata want the tensors of the open inference protocol."""
        declared = [] if isinstance(self._metadata, BadMetadata) else self._metadata["inputs"]
        inputs = declared or self.facts.v2_metadata.get("inputs", ())
        typed = [each for each in inputs if "messagetype" not in each]
        return Wanted(
            as_mapping=getattr(self._user, "v2_input", None) == "dict" or len(typed) > 1,
            content_types=model_metadata.content_types(typed),
            is_writable=getattr(self._user, "v2_writable", False) is True,
        )

    def _load(self, hook: Hook) -> None:
        try:
            hook.call()
        except Exception as error:
            if hint := self._hint_of(error):
                error.add_note(hint.strip(" ;"))
            raise

    def _hint_of(self, error: BaseException) -> str:
        return exceptions.place_of(error) or ("" if self._runner is INLINE else exceptions.hint_of(error))

    def _tell_shortcomings(self) -> None:
        if self._scope is None:
            return
        on_loop = self._runner is INLINE or any(found.is_async for found in self._table.values())
        found = self._scope.shortcomings(on_loop=on_loop)
        if found:
            text = (
                "%s shares its process with other nodes, and during requests %s; for a process of its own: "
                "`infergraph serve TARGET --http-port PORT`, and here --node %s=http://HOST:PORT"
            )
            _log.info(text, self.name, "; ".join(found), self.name)

    async def stop(self) -> None:
        """Accept no more work; running user code is not interrupted, but streams that were left are closed."""
        if self._streams is not None:
            await self._streams.stop()
        self._let_go_of_thread()
        if self._own_loop is not None:
            self._own_loop.close()
            self._own_loop = None
        if self._scope is not None:
            self._scope.close()

    @property
    def facts(self) -> UnitFacts:
        """The user's object and the methods that it implements; none before `start`."""
        methods = frozenset(method for method, found in self._table.items() if found.plain is not None or found.is_raw)
        v2_metadata = getattr(self._user, "v2_metadata", None)
        more = v2_metadata if isinstance(v2_metadata, Mapping) else {}
        return UnitFacts(
            user_object=self._user,
            methods=methods,
            v2_metadata=more,
            streams=self._predict_stream is not None,
            only_streams=self._only_streams,
        )

    @property
    def task_rows(self) -> str | None:
        """How the component takes the lines of a task (`object`, `instance`, `message`, `v2`), if it says so."""
        declared = getattr(self._user, "task_rows", None)
        return declared if isinstance(declared, str) else None

    # ── answering ───────────────────────────────────────────────────────────────────────────────────────────────

    def runner(self, method: Method) -> Runner | None:
        """Its thread, or the event loop's; None where a hook it calls is async."""
        return self._runner if method in self._driven else None

    def answer(self, method: Method, request: Request, context: Context) -> Coroutine[Any, Any, Message]:
        """The component's answer (see `PredictiveUnit.answer`)."""
        found = self._table[method]
        work = self._asked(context, request, found.is_async, self._call_hook, method, found, request, context)
        if found.is_async or self._awaits_inline:
            return work
        if self._own_loop is not None:
            self._own_loop.install()
        return work if self._runner.is_current() else self._runner.run(work)

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The items of `predict_stream` as answers; without that hook the only answer."""
        if self._streams is None or method is not Method.PREDICT or not isinstance(request, Message):
            return super().stream(method, request, context)
        return self._streams.answers(request, context)

    def as_users(self, call: Callable[[], Coroutine[Any, Any, T]], asked: Asked) -> Coroutine[Any, Any, T]:
        """The result of a coroutine function that calls user code for a request."""
        if self._own_loop is not None and not asked.on_loop:
            self._own_loop.install()
        return self._asked(asked.context, asked.message, asked.on_loop, call)

    async def _asked(
        self,
        context: Context,
        request: Request | None,
        is_async: bool,
        call: Callable[..., Coroutine[Any, Any, T]],
        *arguments: Any,
    ) -> T:
        """The answer of `call` to the current request, which is that of `context` meanwhile; faults name the unit."""
        token = CONTEXT.set(context)
        try:
            with self._request_scope(context, request) or _NO_SCOPE:
                try:
                    return await call(*arguments)
                except Fault as fault:
                    fault.node = fault.node or self.name
                    raise
                except BaseException as error:  # user code may raise anything
                    if is_async and exceptions.ends_request(error):
                        raise
                    self._raise_users(error, context)
        finally:
            CONTEXT.reset(token)

    def _call_hook(
        self, method: Method, found: MethodHooks, request: Request, context: Context
    ) -> Coroutine[Any, Any, Message]:
        if (found.is_raw or self._options.payload_passthrough) and self._takes_raw(found, request):
            return self._call_raw_first(method, found, request, context)
        return self._call_plain(method, found.plain, request, context)

    async def _call_raw_first(self, method: Method, found: MethodHooks, request: Request, context: Context) -> Message:
        answered = await self._answer_raw(found, messages.in_seldon(request), method, context)
        return answered if answered is not None else await self._call_plain(method, found.plain, request, context)

    def _call_plain(
        self, method: Method, hook: Hook | None, request: Request, context: Context
    ) -> Coroutine[Any, Any, Message]:
        if isinstance(request, Feedback):
            return self._feedback(hook, request, context)
        if not isinstance(request, Message):
            return self._aggregate(hook, request)
        if method is Method.ROUTE:
            return self._route(hook, request)
        if method is Method.PREDICT and self._predict_v2 is not None and request.holds_tensors:
            return self._predict_tensors(self._predict_v2, request)
        return self._predict(method, hook, request)

    async def _predict(self, method: Method, hook: Hook | None, message: Message) -> Message:
        is_async, wanted = hook is not None and hook.is_async, self._wanted
        content = await _read_aside(message, wanted) if is_async else own_content(message, wanted)
        payload, encoding, names, meta = content
        result: Any = Returned
        if hook is not None:
            try:
                result = hook.call(payload, names if names or names is None else [], meta)
                if is_async:
                    result = await result
            except Exception as error:
                if not exceptions.is_not_implemented(error):
                    raise
        is_default = result is Returned
        if is_default:
            result = self._default(method, payload)
        response = results.unwrap(result, payload)
        own = await self._own(method, response) if self._adds or response.metrics is not None else self._no_own
        given = Content(payload, encoding, (), meta)
        if is_default and method is not Method.PREDICT and isinstance(payload, int | float):
            return SoleMessage(given._replace(meta=results.meta_of((meta,), own, response, carries=True)))
        return self._made(method, response, own, given, message)

    async def read(self, message: Message) -> Content:
        """What a hook is handed of a message."""
        is_async = self._predict_stream is not None and self._predict_stream.is_async
        return await _read_aside(message, self._wanted) if is_async else own_content(message, self._wanted)

    async def answer_with(self, response: Returned, given: Content, message: Message) -> Message:
        """The answer to predict for one item of a stream."""
        own = await self._own(Method.PREDICT, response)
        return self._made(Method.PREDICT, response, own, given, message)

    def _made(self, method: Method, response: Returned, own: Own, given: Content, message: Message) -> Message:
        """The message for a result."""
        payload, encoding, _, asked = given
        if encoding is Encoding.TENSORS:
            return self._tensors(response.data, self._meta_beside((asked,), own, response), method)
        meta = results.meta_of((asked,), own, response, carries=True)
        if payload is None and response.data is None:
            # A bare JSON value, which other results may not be: None is nearly always a forgotten `return`.
            return SoleMessage(Content(payload, encoding, (), meta))
        transforms_input = method is Method.TRANSFORM_INPUT
        return self._message(response, encoding, meta, transforms_input, as_array=message.lists_are_arrays)

    def _default(self, method: Method, payload: Any) -> Any:
        if self._options.strict:
            raise MethodMissing(f"{self.name} has no method {method.value}", node=self.name)
        return [] if method is Method.PREDICT else payload

    async def _route(self, hook: Hook | None, message: Message) -> Message:
        if hook is None:
            raise MethodMissing("Route not defined", node=self.name)
        wanted = self._wanted
        content = await _read_aside(message, wanted) if hook.is_async else own_content(message, wanted)
        payload, encoding, names, meta = content
        result = hook.call(payload, names if names or names is None else [], meta)
        if hook.is_async:
            result = await result
        response = results.unwrap(result)
        response = replace(response, data=np.array([[results.branch(response.data)]]))
        own = await self._own(Method.ROUTE, response)
        encoding = Encoding.NDARRAY if encoding is Encoding.TENSORS else encoding
        return self._message(response, encoding, results.meta_of((meta,), own, response, carries=False))

    async def _aggregate(self, hook: Hook | None, messages: Sequence[Message]) -> Message:
        if hook is None:
            raise MethodMissing("Aggregate not defined", node=self.name)
        if not messages:
            raise PayloadError("an aggregate request needs at least one message in seldonMessages")
        wanted = self._wanted
        contents = [await _read_aside(one, wanted) if hook.is_async else own_content(one, wanted) for one in messages]
        result = hook.call([content.payload for content in contents], [content.names or [] for content in contents])
        if hook.is_async:
            result = await result
        response = results.unwrap(result)
        own = await self._own(Method.AGGREGATE, response)
        metas = [content.meta for content in contents]
        if contents[0].encoding is Encoding.TENSORS:
            return self._tensors(response.data, self._meta_beside(metas, own, response), Method.AGGREGATE)
        meta = results.meta_of(metas, own, response, carries=True)
        if response.data is None and any(content.payload is None for content in contents):
            return SoleMessage(Content(None, Encoding.JSON, (), meta))
        as_array = messages[0].lists_are_arrays
        return self._message(response, contents[0].encoding, meta, as_array=as_array)

    async def _feedback(self, hook: Hook | None, feedback: Feedback, context: Context) -> Message:
        content = feedback.content
        self._count_reward(content.reward)
        request = content.request
        features, names = _array_of(request)
        result: Any = None
        if hook is not None:
            routing = feedback.routing.get(self._options.unit_id or "0")
            try:
                result = hook.call(features, names, content.reward, _array_of(content.truth)[0], routing)
                if hook.is_async:
                    result = await result
            except Exception as error:
                if not exceptions.is_not_implemented(error):
                    raise
                result = None
        response = results.unwrap(result)
        if response.data is None:
            response = replace(response, data=np.array([]))
        own = await self._own(Method.SEND_FEEDBACK, response)
        asked = (request.meta,) if request is not None else ()
        meta = results.meta_of(asked, own, response, carries=False)
        message = self._message(response, _encoding_of(request), meta, as_array=True)
        if context.transport is Transport.REST:
            return json_codec.of_document(proto_codec.proto3_document(message))
        return message

    def _count_reward(self, reward: float) -> None:
        if reward and self._options.count_feedback:
            self._recorder.record_feedback(reward)

    async def _own(self, method: Method, response: Returned) -> Own:
        """Tags and metrics of the component; its metrics are recorded even if the answer then cannot be sent."""
        if not self._adds and response.metrics is None:
            return self._no_own
        tags = await self._side(self._tags)
        metrics: list[dict[str, Any]] = []
        if self._metrics is not None:
            metrics.extend(self._recorder.validate(await self._side(self._metrics, missing=[])))
        if response.metrics is not None:
            metrics.extend(self._recorder.validate(response.metrics))
        if metrics:
            self._recorder.record(metrics, _METRIC_METHODS[method])
        shown = metrics if self._options.include_metrics else ()
        return Own(tags, shown, self._no_own.request_path)

    def _message(
        self,
        response: Returned,
        asked: Encoding,
        meta: dict[str, Any],
        for_input: bool = False,
        *,
        as_array: bool = False,
    ) -> Message:
        shaped = results.shape(response.data, asked, as_array=as_array)
        names: Any = [] if shaped.columns is None else self._column_names(shaped, for_input)
        return SoleMessage(Content(shaped.payload, shaped.encoding, names, meta))

    def _tensors(self, data: Any, meta: dict[str, Any], method: Method) -> Message:
        """An answer of the open inference protocol; column names that the component gives itself go with its table."""
        made = hook_values.outputs_of(data, is_sole=True)
        for_input = method is Method.TRANSFORM_INPUT
        hook = "feature_names" if for_input and self._options.feature_names else "class_names"
        if hasattr(self._user, hook) and len(made.tensors) == 1 and made.tensors[0].array.ndim == 2:
            columns = made.tensors[0].array.shape[1]
            names = self._column_names(results.Shaped(None, Encoding.TENSORS, columns), for_input)
            if names is not None and names != results.default_names(columns):
                made = hook_values.with_column_names(made, [str(name) for name in names])
        return SoleMessage(Content(made, Encoding.TENSORS, (), meta))

    def _meta_beside(self, asked: Sequence[Meta | None], own: Own, response: Returned) -> Meta:
        """The meta of an answer in tensors: Seldon's members, and beside them what the request asks for."""
        seldon = [messages.without_request(each) for each in asked]
        return messages.carried(asked[0]) | results.meta_of(seldon, own, response, carries=True)

    async def _predict_tensors(self, hook: Hook, message: Message) -> Message:
        """The answer of `predict_v2`, which takes and gives the protocol's own objects."""
        content = message.decode_again() or message.content
        result = hook.call(messages.request_object(content))
        if hook.is_async:
            result = await result
        response = results.unwrap(result)
        own = await self._own(Method.PREDICT, response)
        meta = self._meta_beside((content.meta,), own, response)
        if messages.is_response_object(response.data):
            made, tags = messages.of_response_object(response.data)
            if tags:
                meta["tags"] = tags | meta.get("tags", {})
            return SoleMessage(Content(made, Encoding.TENSORS, (), meta))
        return self._tensors(response.data, meta, Method.PREDICT)

    def _column_names(self, shaped: results.Shaped, for_input: bool) -> Any:
        hook = "feature_names" if for_input and self._options.feature_names else "class_names"
        named = getattr(self._user, hook, Returned)
        if named is Returned:
            return shaped.names or results.default_names(shaped.columns)
        if callable(named):
            named = hooks.own(self._user, hook)
            try:
                named = results.default_names(shaped.columns) if named is None else self._finished(named())
            except Exception as error:
                if not exceptions.is_not_implemented(error):
                    raise
                named = results.default_names(shaped.columns)
        elif named is None:
            return shaped.names
        return own_names(named)

    async def _side(self, hook: Hook | None, missing: Any = None) -> Any:
        """The result of an auxiliary hook; `missing` if it is not implemented."""
        if hook is None:
            return missing
        try:
            result = hook.call()
            if not hook.is_async:
                return result
            return await result if asyncio._get_running_loop() is not None else self._finished(result)
        except Exception as error:
            if exceptions.is_not_implemented(error):
                return missing
            raise

    def _finished(self, result: Any) -> Any:
        """`result`, awaited if it is a coroutine; a thread waits while the event loop runs it."""
        if not inspect.iscoroutine(result):
            return result
        if threading.get_ident() == self._loop_thread:
            return drive(result)
        return asyncio.run_coroutine_threadsafe(result, self._loop).result()

    def _takes_raw(self, found: MethodHooks, request: Request) -> bool:
        """Whether a raw hook is asked; tensors are given to it only if there is nothing else that takes them."""
        if isinstance(request, Message) and request.holds_tensors:
            return found.is_raw and found.plain is None and self._predict_v2 is None
        return True

    # ── raw and deprecated hooks ────────────────────────────────────────────────────────────────────────────────

    async def _answer_raw(
        self, found: MethodHooks, request: Request, method: Method, context: Context
    ) -> Message | None:
        if not found.is_raw:
            if method is Method.PREDICT and found.plain is not None:
                return await self._pass_through(found.plain, request, bare=False)
            return None
        # Decided by the transport: a message from a node of the same process is in neither format.
        is_proto = context.transport is Transport.GRPC or raw_hooks.is_proto(request)
        passes = self._options.payload_passthrough and method is Method.PREDICT and not is_proto
        deprecated = (found.grpc or found.rest) if is_proto else (found.rest or found.grpc)
        if deprecated is not None:
            if passes and deprecated is found.rest:
                return await self._pass_through(deprecated, request, bare=True)
            return await self._call_raw(deprecated, request, as_proto=deprecated is found.grpc, counts=False)
        if found.raw is None:
            return None
        if passes:
            return await self._pass_through(found.raw, request, bare=True)
        try:
            as_proto = is_proto or isinstance(request, Feedback)
            return await self._call_raw(found.raw, request, as_proto=as_proto, counts=True, method=method)
        except Exception as error:
            if exceptions.is_not_implemented(error):
                return None
            raise

    async def _call_raw(
        self, hook: Hook, request: Request, *, as_proto: bool, counts: bool, method: Method = Method.PREDICT
    ) -> Message:
        if isinstance(request, Feedback):
            self._count_reward(request.content.reward)
        result = hook.call(raw_hooks.proto_of(request) if as_proto else raw_hooks.document_of(request))
        if hook.is_async:
            result = await result
        if isinstance(request, Feedback):
            message = raw_hooks.feedback_message(result, request)
        else:
            message = raw_hooks.message_of(result)
        return self._count_raw(message, method) if counts else message

    async def _pass_through(self, hook: Hook, request: Request, *, bare: bool) -> Message | None:
        given = raw_hooks.undecoded(request)
        if given is None:
            return None
        result = hook.call(given) if bare else hook.call(given, [], None)
        result = await result if hook.is_async else result
        if isinstance(result, bytes | str):
            return raw_hooks.as_it_is(result.encode() if isinstance(result, str) else result)
        return raw_hooks.message_of(result)

    def _count_raw(self, message: Message, method: Method) -> Message:
        """Record the metrics inside a raw answer, and remove them from it if so configured."""
        document = json_codec.document_of(message)
        meta = document.get("meta") if isinstance(document, dict) else None
        metrics = meta.get("metrics") if isinstance(meta, dict) else None
        if not metrics:
            return message
        typed = [{"type": "COUNTER", **metric} for metric in metrics if isinstance(metric, dict)]
        known = [metric for metric in typed if metric["type"] in _METRIC_TYPES]
        self._recorder.record(self._recorder.validate(known), _METRIC_METHODS[method])
        if self._options.include_metrics:
            return message
        assert isinstance(document, dict)
        assert isinstance(meta, dict)
        kept = {key: value for key, value in meta.items() if key != "metrics"}
        return raw_hooks.with_document(message, document | {"meta": kept})

    # ── health and metadata ─────────────────────────────────────────────────────────────────────────────────────

    async def health(self, context: Context) -> Message:
        """The component's own report of its health; the last one if it is busy."""
        whole = hooks.single(self._user, "health_status_raw")
        hook = whole or hooks.single(self._user, "health_status")
        is_async = hook is not None and hook.is_async
        work = self._asked(context, None, is_async, self._account, hook, whole is not None)
        if is_async:
            return await work
        asked = asyncio.ensure_future(self._runner.run(work))
        try:
            await asyncio.wait({asked}, timeout=_HEALTH_WAIT_S)
            if not asked.done() and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                return self._last_health  # its thread is busy, and a probe must not wait for it
            self._last_health = await asked
        finally:
            asked.cancel()
        return self._last_health

    async def _account(self, hook: Hook | None, is_whole: bool) -> Message:
        if hook is None:
            inherited = hasattr(self._user, "health_status")
            result: Any = "not implemented - assuming healthy" if inherited else "healthy"
        else:
            result = await hook.call() if hook.is_async else hook.call()
        return raw_hooks.message_of(result) if is_whole else await self._health_message(result)

    async def _health_message(self, result: Any) -> Message:
        response = results.unwrap(result)
        if response.data is False:
            raise ComponentError("health_status() answered False", status=503, reason="NOT_HEALTHY")
        if response.data is None or response.data is True:
            response = replace(response, data="healthy")
        # Probes must not change the component's own counters: metrics() is not called.
        tags = await self._side(self._tags)
        own = Own(tags, (), self._no_own.request_path)
        return self._message(response, Encoding.STR, results.meta_of((), own, response, carries=False))

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The model's metadata as read at start; BadMetadata if it does not fit the schema."""
        if isinstance(self._metadata, BadMetadata):
            raise BadMetadata(self._metadata.text, node=self.name)
        return self._metadata

    async def _read_metadata(self) -> dict[str, Any] | BadMetadata:
        hook = hooks.single(self._user, "init_metadata")
        inputs = model_metadata.expected_inputs(self._user)
        try:
            own = {} if hook is None else await (hook.call() if hook.is_async else self._runner.call(hook.call))
            assembled = model_metadata.assemble(self._options.image, own, self._options.model_metadata, inputs)
            model_metadata.check(assembled)
        except BadMetadata as fault:
            _log.error("the metadata of %s is not valid: %s", self.name, fault)
            return BadMetadata("Model metadata unavailable")
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            if exceptions.is_not_implemented(error):
                return model_metadata.assemble(self._options.image, {}, self._options.model_metadata, inputs)
            _log.exception("init_metadata() of %s raised", self.name)
            return BadMetadata("Model metadata unavailable")
        return assembled

    # ── the user's errors ───────────────────────────────────────────────────────────────────────────────────────

    def _raise_users(self, error: BaseException, context: Context) -> NoReturn:
        status = exceptions.declared_status(error)
        is_deliberate = status is not None
        _log.error(
            "%s raised %s (puid %s)",
            self.name,
            type(error).__name__,
            context.puid or "-",
            exc_info=None if is_deliberate else error,
        )
        answer = None
        blueprint = getattr(self._user, "model_error_handler", None)
        if blueprint is not None and self._error_handler is not None and isinstance(error, Exception):
            answer = self._error_handler(blueprint, error)
        if is_deliberate:
            text = str(getattr(error, "message", "") or exceptions.text_of(error))
            reason = getattr(error, "reason", None) or "MICROSERVICE_BAD_DATA"
            raise ComponentError(text, reason=str(reason), node=self.name, status=status, answer=answer) from error
        text = exceptions.text_of(error) + self._hint_of(error)
        if isinstance(error, ValueError) and "read-only" in text and not self._wanted.is_writable:
            text += "; large tensors are views of the request (v2_writable = True on the class asks for copies)"
        status = 400 if exceptions.is_not_implemented(error) else None
        raise ComponentError(text, node=self.name, status=status, answer=answer) from error


async def _read_aside(message: Message, wanted: Wanted) -> Content:
    """The content for an async hook; a large message is read off the event loop."""
    if is_larger(message, _LARGE_BYTES):
        return await asyncio.to_thread(own_content, message, wanted)
    return own_content(message, wanted)


def _array_of(message: Message | None) -> tuple[Any, Any]:
    """Features and names of a feedback's part; the protocol reads arrays alone there."""
    if message is None or message.is_bare:
        return np.array([]), []
    payload, encoding, names, _ = own_content(message)
    return (payload, names or []) if encoding.is_array else (np.array([]), [])


def _encoding_of(message: Message | None) -> Encoding:
    return Encoding.TENSOR if message is None or message.is_bare else message.encoding
